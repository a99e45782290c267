//! `RetNet` (models.md 3.8): an additive memory that forgets at a fixed rate a head, with rotary positions.

use super::{BlockContext, ModelConfig, Taxonomy, additive};
use crate::error::{Result, UserError};
use crate::graph::Graph;
use crate::ops::linear_attention::Decay;
use crate::tensor::TensorId;

pub(super) const TAXONOMY: Taxonomy = Taxonomy {
    transition: "gamma, fixed",
    decay: "head, not data-dependent",
    write_gate: "none",
    complementary: "no",
    readout: "q",
    output_gate: "swish, after the norm",
    channel_mixing: "no",
};

/// `g_proj` (read-out): 2 d^2.
pub(super) fn gate_params(d: usize, _heads: usize) -> usize {
    2 * d * d
}

pub(super) fn validate(config: &ModelConfig) -> Result<()> {
    additive::validate("retnet", config)?;
    let dk = config.head_dim();
    if dk.is_multiple_of(2) {
        return Ok(());
    }
    let reason = format!(
        "a head of {dk} channels: rotary positions need an even number (d_model {} with {} heads)",
        config.d_model, config.heads
    );
    Err(UserError::Shape { op: "retnet", reason }.into())
}

pub(super) fn build(g: &mut Graph, x: TensorId, c: &BlockContext<'_>) -> Result<TensorId> {
    additive::build(g, x, c, Decay::Constant)
}

//! Gated linear attention (models.md 3.5): an additive memory that forgets by key channel.

use super::additive::{self, GATE_RANK};
use super::{BlockContext, ModelConfig, Taxonomy};
use crate::error::Result;
use crate::graph::Graph;
use crate::ops::linear_attention::Decay;
use crate::tensor::TensorId;

pub(super) const TAXONOMY: Taxonomy = Taxonomy {
    transition: "diag(alpha)",
    decay: "key channel, low-rank gate",
    write_gate: "none",
    complementary: "no",
    readout: "q",
    output_gate: "swish, after the norm",
    channel_mixing: "no",
};

/// `gk_proj` (decay), `g_proj` (read-out): 33 d + 2 d^2.
pub(super) fn gate_params(d: usize, _heads: usize) -> usize {
    2 * d * GATE_RANK + d + 2 * d * d
}

pub(super) fn validate(config: &ModelConfig) -> Result<()> {
    additive::validate("gla", config)
}

pub(super) fn build(g: &mut Graph, x: TensorId, c: &BlockContext<'_>) -> Result<TensorId> {
    additive::build(g, x, c, Decay::Channel)
}

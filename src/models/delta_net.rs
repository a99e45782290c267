//! `DeltaNet` (models.md 3.4): the delta rule with a write strength a head and token, without decay or output gate.

use super::{BlockContext, ModelConfig, Taxonomy, delta};
use crate::error::Result;
use crate::graph::Graph;
use crate::tensor::TensorId;

pub(super) const TAXONOMY: Taxonomy = Taxonomy {
    transition: "I - beta k k^T",
    decay: "none",
    write_gate: "beta in (0,1), a head",
    complementary: "no",
    readout: "q",
    output_gate: "no",
    channel_mixing: "yes, rank 1",
};

/// `b_proj` (write): d H.
pub(super) fn gate_params(d: usize, heads: usize) -> usize {
    d * heads
}

pub(super) fn validate(config: &ModelConfig) -> Result<()> {
    delta::validate("delta_net", config)
}

pub(super) fn build(g: &mut Graph, x: TensorId, c: &BlockContext<'_>) -> Result<TensorId> {
    let form = delta::Form {
        gated: false,
        steps: 1,
        strongest: 1.0,
    };
    delta::build(g, x, c, &form)
}

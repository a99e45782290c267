//! Gated DeltaNet (models.md 3.6): the delta rule with one decay and one write strength a head and token.

use super::{BlockContext, ModelConfig, Taxonomy, delta};
use crate::error::Result;
use crate::graph::Graph;
use crate::tensor::TensorId;

pub(super) const TAXONOMY: Taxonomy = Taxonomy {
    transition: "alpha (I - beta k k^T)",
    decay: "head, data-dependent",
    write_gate: "beta in (0,1), a head",
    complementary: "no (alpha and beta are free)",
    readout: "q",
    output_gate: "swish, after the norm",
    channel_mixing: "yes, rank 1",
};

/// `a_proj`, `b_proj`, `A_log` and `dt_bias` (decay and write), `g_proj` (read-out): 2 d^2 + 2 d H + 2 H.
pub(super) fn gate_params(d: usize, heads: usize) -> usize {
    2 * d * d + 2 * d * heads + 2 * heads
}

pub(super) fn validate(config: &ModelConfig) -> Result<()> {
    delta::validate("gated_delta_net", config)
}

pub(super) fn build(g: &mut Graph, x: TensorId, c: &BlockContext<'_>) -> Result<TensorId> {
    let form = delta::Form {
        gated: true,
        steps: 1,
        strongest: 1.0,
    };
    delta::build(g, x, c, &form)
}

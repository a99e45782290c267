//! Gated `DeltaProduct` (models.md 3.7): n delta steps a token, each of which may reflect, after one decay.

use super::{BlockContext, HOUSEHOLDER, ModelConfig, Taxonomy, delta};
use crate::error::{Result, UserError};
use crate::graph::Graph;
use crate::ops::delta_rule::MAX_STEPS;
use crate::tensor::TensorId;

pub(super) const TAXONOMY: Taxonomy = Taxonomy {
    transition: "alpha prod_j (I - beta_j k_j k_j^T)",
    decay: "head, data-dependent",
    write_gate: "beta_j in (0,2), a head",
    complementary: "no (alpha and beta are free)",
    readout: "q",
    output_gate: "swish, after the norm",
    channel_mixing: "yes, rank n",
};

/// `a_proj`, `b_proj`, `A_log` and `dt_bias` (decay and n writes), `g_proj` (read-out): 2 d^2 + (n + 1) d H + 2 H with
/// the paper's n.
pub(super) fn gate_params(d: usize, heads: usize) -> usize {
    2 * d * d + (HOUSEHOLDER + 1) * d * heads + 2 * heads
}

pub(super) fn validate(config: &ModelConfig) -> Result<()> {
    const NAME: &str = "gated_delta_product";
    let n = config.householder;
    if !(1..=MAX_STEPS).contains(&n) {
        return Err(UserError::Shape {
            op: NAME,
            reason: format!("{n} Householder steps a token: allowed: 1 to {MAX_STEPS}"),
        }
        .into());
    }
    delta::validate(NAME, config)
}

pub(super) fn build(g: &mut Graph, x: TensorId, c: &BlockContext<'_>) -> Result<TensorId> {
    let form = delta::Form {
        gated: true,
        steps: c.config.householder,
        strongest: 2.0,
    };
    delta::build(g, x, c, &form)
}

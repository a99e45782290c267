//! The gated recurrent unit (models.md 3.8): the one model here whose recurrence is not linear.

use super::{BlockContext, ModelConfig, Taxonomy};
use crate::error::Result;
use crate::graph::{Graph, Init};
use crate::ops::gru::Gru;
use crate::ops::linear::Linear;
use crate::tensor::TensorId;

pub(super) const TAXONOMY: Taxonomy = Taxonomy {
    transition: "nonlinear",
    decay: "channel, depends on data and state",
    write_gate: "1 - z, a channel",
    complementary: "yes (z makes both)",
    readout: "none",
    output_gate: "no",
    channel_mixing: "yes (through the gates)",
};

/// Two of the three gates: r and z.
pub(super) fn gate_params(d: usize, _heads: usize) -> usize {
    4 * d * d + 4 * d
}

/// Any width will do.
pub(super) fn validate(_config: &ModelConfig) -> Result<()> {
    Ok(())
}

pub(super) fn build(g: &mut Graph, x: TensorId, c: &BlockContext<'_>) -> Result<TensorId> {
    let (b, t, d) = (c.b, c.t, c.config.d_model);
    let r = Init::Uniform((d as f64).powf(-0.5));
    let [weight_ih, weight_hh] =
        ["ih", "hh"].map(|from| g.param(&format!("weight_{from}_l0"), &[3 * d, d], r));
    let [bias_ih, bias_hh] = ["ih", "hh"].map(|from| g.param(&format!("bias_{from}_l0"), &[3 * d], r));
    let project = Linear {
        rows: b * t,
        inp: d,
        out: 3 * d,
        bias: true,
    };
    let xg = g.call(project, &[x, weight_ih, bias_ih])?[0];
    Ok(g.call(Gru { b, t, d }, &[xg, weight_hh, bias_hh])?[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::BlockKind;

    #[test]
    fn parameters_follow_the_formula() {
        for d in [32, 81, 1024] {
            let config = ModelConfig {
                blocks: vec![BlockKind::Gru; 8],
                d_model: d,
                heads: 1,
                vocab: 41,
                classes: 1601,
                householder: 4,
                chunk: 64,
                d_state: 128,
                dropout: 0.0,
            };
            let all = 8 * (6 * d * d + 6 * d + 2 * d) + 42 * d + 1601 * (d + 1);
            assert_eq!(config.param_count().unwrap(), all, "d {d}");
        }
    }
}

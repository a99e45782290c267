//! The gated recurrent unit (models.md 3.8): the one model here whose recurrence is not linear.

use super::context::one;
use super::{Block, BlockContext, ModelConfig, Taxonomy};
use crate::error::Result;
use crate::graph::{Graph, Init};
use crate::ops::gru::Gru as Recurrence;
use crate::ops::linear::Linear;
use crate::tensor::TensorId;

/// See the module docs.
#[derive(Debug)]
pub(super) struct Gru;

impl Block for Gru {
    fn name(&self) -> &'static str {
        "gru"
    }

    fn describe(&self) -> &'static str {
        "the gated recurrent unit: its gates look at the state"
    }

    fn taxonomy(&self) -> Taxonomy {
        Taxonomy {
            transition: "nonlinear",
            decay: "channel, depends on data and state",
            write_gate: "1 - z, a channel",
            complementary: "yes (z makes both)",
            readout: "identity",
            output_gate: "no",
            channel_mixing: "yes (through the gates)",
            gate_params: "4 d^2 + 4 d",
            paper_gate_params: "-",
        }
    }

    /// Two of the three gates: r and z.
    fn gate_params(&self, config: &ModelConfig) -> usize {
        let d = config.d_model;
        4 * d * d + 4 * d
    }

    /// Any width will do.
    fn validate(&self, _config: &ModelConfig) -> Result<()> {
        Ok(())
    }

    fn build(&self, g: &mut Graph, x: TensorId, c: &BlockContext<'_>) -> Result<TensorId> {
        let d = c.config.d_model;
        let r = Init::Uniform((d as f64).powf(-0.5));
        let weight_ih = g.weight("weight_ih_l0", &[3 * d, d], r);
        // Its recurrence takes it in f32.
        let weight_hh = g.param("weight_hh_l0", &[3 * d, d], r);
        let [bias_ih, bias_hh] = ["ih", "hh"].map(|from| g.param(&format!("bias_{from}_l0"), &[3 * d], r));
        let project = Linear {
            rows: c.rows(),
            inp: d,
            out: 3 * d,
            bias: true,
        };
        let xg = one(g, project, &[x, weight_ih, bias_ih])?;
        c.gru(g, Recurrence { b: c.b, t: c.t, d }, [xg, weight_hh, bias_hh])
    }
}

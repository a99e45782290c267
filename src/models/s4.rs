//! S4 in its diagonal form, S4D (models.md 3.8): a time-invariant scan, gelu, a gated projection.
//!
//! The reference trains it with a recipe of its own: `AdamW`, and the scan's rates in a group with a smaller learning rate
//! and no weight decay. Here it gets the recipe of all models.

use super::context::one;
use super::switches::refused;
use super::{Block, BlockContext, DecayKind, Form, Gate, Gates, InputGate, ModelConfig, Taxonomy};
use crate::error::Result;
use crate::graph::{Graph, Init};
use crate::ops::gelu_dropout::GeluDropout;
use crate::ops::glu::Glu;
use crate::ops::linear::Linear;
use crate::ops::s4d_scan::{MAX_STATES, S4dScan};
use crate::tensor::TensorId;

/// N of the published S4D.
const STATES: usize = 64;

/// The gates without switches.
const GATES: Gates = Gates {
    decay: DecayKind::State,
    data_dependent_decay: false,
    input_gate: InputGate::None,
    readout_gate: true,
    channel_mixing: false,
    conv: false,
};

/// See the module docs.
#[derive(Debug)]
pub(super) struct S4;

impl Block for S4 {
    fn name(&self) -> &'static str {
        "s4"
    }

    fn describe(&self) -> &'static str {
        "diagonal complex scan that does not look at the data, gelu and a gated projection"
    }

    fn taxonomy(&self) -> Taxonomy {
        Taxonomy {
            transition: "diag(exp(dt A)), complex",
            decay: "channel and state, fixed",
            write_gate: "dt, a channel, fixed",
            complementary: "through dt, not data-dependent",
            readout: "C, fixed",
            output_gate: "sigma, after the projection",
            channel_mixing: "no",
            gate_params: "d^2 + d",
            paper_gate_params: "-",
        }
    }

    fn gates(&self) -> Option<Gates> {
        Some(GATES)
    }

    /// The half of the output projection that makes the output gate.
    fn gate_params(&self, config: &ModelConfig) -> usize {
        let d = config.d_model;
        if GATES.switched(&config.switches).readout_gate {
            d * d + d
        } else {
            0
        }
    }

    fn validate(&self, config: &ModelConfig) -> Result<()> {
        let n = config.d_state.unwrap_or(STATES);
        if !n.is_multiple_of(2) || !(2..=2 * MAX_STATES).contains(&n) {
            let reason = format!("d_state is {n}: an even number, 2 to {}", 2 * MAX_STATES);
            return Err(refused(self.name(), &reason));
        }
        let gates = GATES.switched(&config.switches);
        let only_readout = Gates {
            readout_gate: gates.readout_gate,
            ..GATES
        };
        if gates != only_readout {
            let reason = "its scan is the same at every step and has no gates: only model.readout_gate can be switched";
            return Err(refused(self.name(), reason));
        }
        Ok(())
    }

    fn build(&self, g: &mut Graph, x: TensorId, c: &BlockContext<'_>) -> Result<TensorId> {
        let (d, rows) = (c.config.d_model, c.rows());
        let states = c.config.d_state.unwrap_or(STATES) / 2;
        let gated = c.gates().readout_gate;
        let skip = g.param("D", &[d], Init::Normal(1.0));
        let [read, log_dt, log_a, imag] = g.scoped("kernel", |g| {
            [
                g.param("C", &[d, states, 2], Init::Normal(0.5f64.sqrt())),
                g.param("log_dt", &[d], Init::Between(1e-3f64.ln(), 1e-1f64.ln())),
                g.param("log_A_real", &[d, states], Init::Constant(0.5f64.ln())),
                g.param("A_imag", &[d, states], Init::PiIndex(states)),
            ]
        });
        let scan = S4dScan {
            b: c.b,
            t: c.t,
            channels: d,
            states,
        };
        let y = c.s4d_scan(g, scan, &[x, log_dt, read, log_a, imag, skip])?;
        let activation = GeluDropout {
            b: c.b,
            t: c.t,
            d,
            p: c.config.dropout,
            tag: 2 * c.layer as u32 + 1,
        };
        let y = one(g, activation, &[y])?;
        let out = if gated { 2 * d } else { d };
        let both = g.scoped("output_linear.0", |g| {
            let r = Init::Uniform((d as f64).powf(-0.5));
            let (weight, bias) = (g.weight("weight", &[out, d, 1], r), g.param("bias", &[out], r));
            let project = Linear {
                rows,
                inp: d,
                out,
                bias: true,
            };
            one(g, project, &[y, weight, bias])
        })?;
        if gated {
            c.show(Gate::Readout, Form::SigmoidOfHalf, &[both], 1);
            one(g, Glu { rows, d }, &[both])
        } else {
            Ok(both)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_odd_and_large_states() {
        let config = |d_state| {
            let mut model = ModelConfig::new(&S4, 8, 64, 41, 1601);
            model.d_state = Some(d_state);
            model
        };
        assert!(config(256).validate().is_ok());
        for n in [0, 63, 258] {
            let message = config(n).validate().unwrap_err().to_string();
            let wanted = format!("d_state is {n}: an even number, 2 to 256");
            assert!(message.contains(&wanted), "{message}");
        }
    }
}

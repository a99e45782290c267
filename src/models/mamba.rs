//! Mamba (models.md 3.2): a short convolution, then a selective scan whose step, input and read-out come from the data.

use super::context::one;
use super::switches::refused;
use super::{Block, BlockContext, DecayKind, Form, Gate, Gates, InputGate, ModelConfig, Taxonomy};
use crate::error::Result;
use crate::graph::{Graph, Init};
use crate::ops::linear::Linear;
use crate::ops::selective_scan::{MAX_STATES, SelectiveScan};
use crate::tensor::TensorId;

/// N of the published Mamba; the sweeps of the paper's code say 128, but only 64 has the paper's size.
const STATES: usize = 64;

/// The gates without switches.
const GATES: Gates = Gates {
    decay: DecayKind::State,
    data_dependent_decay: true,
    input_gate: InputGate::Complementary,
    readout_gate: true,
    channel_mixing: false,
    conv: true,
};

/// See the module docs.
#[derive(Debug)]
pub(super) struct Mamba;

/// R, the rank of the projection to the steps.
fn step_rank(d: usize) -> usize {
    d.div_ceil(16)
}

/// Whether the step size decays the state, and whether it scales what is written.
fn step_does(gates: Gates) -> (bool, bool) {
    (
        gates.decay == DecayKind::State,
        gates.input_gate != InputGate::None,
    )
}

impl Block for Mamba {
    fn name(&self) -> &'static str {
        "mamba"
    }

    fn describe(&self) -> &'static str {
        "selective scan: step, input and read-out of a diagonal recurrence come from the data"
    }

    fn taxonomy(&self) -> Taxonomy {
        Taxonomy {
            transition: "diag(exp(dt A))",
            decay: "channel and state, data-dependent",
            write_gate: "dt, a channel",
            complementary: "yes, through dt",
            readout: "C",
            output_gate: "SiLU(z)",
            channel_mixing: "no",
            gate_params: "2 d^2 + 4 d R + 2 d",
            paper_gate_params: "2 d N + 8 d^2/16",
        }
    }

    fn gates(&self) -> Option<Gates> {
        Some(GATES)
    }

    /// The columns of `x_proj` that make the step, `dt_proj` with its bias, and the part of `in_proj` that makes the
    /// output gate: 4 d R + 2 d + 2 d^2.
    fn gate_params(&self, config: &ModelConfig) -> usize {
        let gates = GATES.switched(&config.switches);
        let (d, inner) = (config.d_model, config.expand * config.d_model);
        let step = match step_does(gates) {
            (false, false) => 0,
            (true, _) if !gates.data_dependent_decay => inner,
            _ => 2 * inner * step_rank(d) + inner,
        };
        step + if gates.readout_gate { inner * d } else { 0 }
    }

    fn validate(&self, config: &ModelConfig) -> Result<()> {
        let refuse = |reason: &str| Err(refused(self.name(), reason));
        let gates = GATES.switched(&config.switches);
        let n = config.d_state.unwrap_or(STATES);
        if !(1..=MAX_STATES).contains(&n) {
            return refuse(&format!("d_state is {n}: 1 to {MAX_STATES}"));
        }
        if gates.channel_mixing {
            return refuse("model.channel_mixing = true: its states are apart, one a channel and dimension");
        }
        if !matches!(gates.decay, DecayKind::None | DecayKind::State) {
            return refuse(
                "model.decay: its states are one a channel and dimension; allowed: \"state\", \"none\"",
            );
        }
        if gates.input_gate == InputGate::Free && gates.decay == DecayKind::State {
            return refuse(
                "model.input_gate = \"free\": its one step size would both decay and write; allowed: \"complementary\" \
                 or \"none\", and \"free\" with model.decay = \"none\"",
            );
        }
        Ok(())
    }

    fn build(&self, g: &mut Graph, x: TensorId, c: &BlockContext<'_>) -> Result<TensorId> {
        let gates = c.gates();
        let (decays, writes) = step_does(gates);
        let (d, rows) = (c.config.d_model, c.rows());
        let n = c.config.d_state.unwrap_or(STATES);
        let (inner, rank) = (c.config.expand * d, step_rank(d));
        let a_log = decays.then(|| g.param("A_log", &[inner, n], Init::LogIndex(n)));
        let skip = g.param("D", &[inner], Init::Constant(1.0));
        let (u, z) = if gates.readout_gate {
            let both = c.linear_parts(g, "in_proj", x, d, &[inner, inner])?;
            (both[0], Some(both[1]))
        } else {
            (c.linear(g, "in_proj", x, [d, inner], false)?, None)
        };
        let u = c.conv(g, "conv1d", u, inner, true)?;
        // What only writes is an input gate, and depends on the data.
        let from_data = if decays {
            gates.data_dependent_decay
        } else {
            writes
        };
        let low = if from_data { rank } else { 0 };
        let width = low + 2 * n;
        let all = c.linear(g, "x_proj", u, [inner, width], false)?;
        let bm = c.slice(g, all, width, low, n)?;
        let cm = c.slice(g, all, width, low + n, n)?;
        let mut step = None;
        if decays || writes {
            let delta = if from_data {
                let low = c.slice(g, all, width, 0, rank)?;
                let r = (rank as f64).powf(-0.5);
                let weight = g.weight("dt_proj.weight", &[inner, rank], Init::Uniform(r));
                // The scan adds the bias.
                let project = Linear {
                    rows,
                    inp: rank,
                    out: inner,
                    bias: false,
                };
                one(g, project, &[low, weight])?
            } else {
                c.constant(g, rows * inner, 0.0)?
            };
            step = Some((delta, g.param("dt_proj.bias", &[inner], Init::StepBias)));
        }
        let scan = SelectiveScan {
            b: c.b,
            t: c.t,
            channels: inner,
            states: n,
            gated: z.is_some(),
            tied: writes,
            decays,
        };
        if let (Some((delta, bias)), Some(a_log)) = (step, a_log) {
            c.show(Gate::Decay, Form::StateDecay, &[delta, bias, a_log], 1);
        }
        if let Some((delta, bias)) = step.filter(|_| writes) {
            c.show(Gate::Write, Form::Step, &[delta, bias], 1);
        }
        if let Some(z) = z {
            c.show(Gate::Readout, Form::Silu, &[z], 1);
        }
        let (delta, bias) = step.unzip();
        let ins = [Some(u), delta, z, Some(bm), Some(cm), a_log, bias, Some(skip)];
        let ins: Vec<TensorId> = ins.into_iter().flatten().collect();
        let y = c.over_time(g, scan, &ins)?;
        c.linear(g, "out_proj", y, [inner, d], false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(d_model: usize, d_state: usize) -> ModelConfig {
        let mut model = ModelConfig::new(&Mamba, 8, d_model, 41, 1601);
        model.d_state = Some(d_state);
        model
    }

    #[test]
    fn the_papers_sizes_have_its_parameters() {
        for (d, millions) in [(768, 33.212), (1024, 57.390), (1152, 71.936), (1296, 90.259)] {
            let params = config(d, 64).param_count().unwrap() as f64;
            assert!((params / 1e6 - millions).abs() < 0.0005, "{d}: {params}");
        }
    }

    #[test]
    fn refuses_states_that_the_scan_does_not_hold() {
        assert!(config(64, 256).validate().is_ok());
        for n in [0, 257] {
            let message = config(64, n).validate().unwrap_err().to_string();
            assert!(
                message.contains(&format!("d_state is {n}: 1 to 256")),
                "{message}"
            );
        }
    }
}

//! Mamba2 (models.md 3.3): an additive memory whose step size both forgets and writes, with one read and one write
//! vector for all heads.

use super::context::one;
use super::switches::refused;
use super::{Block, BlockContext, DecayKind, Form, Gate, Gates, InputGate, ModelConfig, Taxonomy};
use crate::error::Result;
use crate::graph::{Graph, Init};
use crate::ops::Decay;
use crate::ops::decay_gate::DecayGate;
use crate::ops::linear_attention::LinearAttention;
use crate::ops::pointwise::Function;
use crate::ops::rms_norm::Kind;
use crate::ops::scale::Scale;
use crate::ops::skip::Skip;
use crate::ops::ssm_gate::SsmGate;
use crate::tensor::TensorId;

/// Largest state and head width that the recurrence can have.
const MAX_WIDTH: usize = 256;

/// N of the paper's Mamba2.
const STATES: usize = 128;

/// The gates without switches.
const GATES: Gates = Gates {
    decay: DecayKind::Head,
    data_dependent_decay: true,
    input_gate: InputGate::Complementary,
    readout_gate: true,
    channel_mixing: false,
    conv: true,
};

/// See the module docs.
#[derive(Debug)]
pub(super) struct Mamba2;

impl Block for Mamba2 {
    fn name(&self) -> &'static str {
        "mamba2"
    }

    fn describe(&self) -> &'static str {
        "additive memory with a step size a head that forgets and writes, one read and write vector"
    }

    fn taxonomy(&self) -> Taxonomy {
        Taxonomy {
            transition: "exp(dt a)",
            decay: "head, data-dependent",
            write_gate: "dt",
            complementary: "yes, through dt",
            readout: "C",
            output_gate: "SiLU(z), before the norm",
            channel_mixing: "no",
            gate_params: "2 d^2 + 2 d H + 4 H",
            paper_gate_params: "about 2 d H",
        }
    }

    fn gates(&self) -> Option<Gates> {
        Some(GATES)
    }

    fn gate_params(&self, config: &ModelConfig) -> usize {
        let gates = GATES.switched(&config.switches);
        let (d, h, inner) = (config.d_model, heads(config), config.expand * config.d_model);
        let step = if gates.data_dependent_decay { d * h } else { 0 };
        let decay = if gates.decay == DecayKind::Head {
            step + 2 * h
        } else {
            0
        };
        let input = if gates.input_gate == InputGate::Free {
            d * h
        } else {
            0
        };
        let readout = if gates.readout_gate { inner * d } else { 0 };
        decay + input + readout
    }

    fn validate(&self, config: &ModelConfig) -> Result<()> {
        let refuse = |reason: &str| Err(refused(self.name(), reason));
        let gates = GATES.switched(&config.switches);
        let (p, n) = (config.head_dim(), config.d_state.unwrap_or(STATES));
        if !(1..=MAX_WIDTH).contains(&n) {
            return refuse(&format!("{n} states: 1 to {MAX_WIDTH}"));
        }
        if !(1..=MAX_WIDTH).contains(&p) {
            return refuse(&format!("a head of {p} channels: at most {MAX_WIDTH}"));
        }
        if matches!(gates.decay, DecayKind::Channel | DecayKind::State) {
            return refuse(
                "model.decay \"channel\" or \"state\": its heads share keys and have one decay each",
            );
        }
        if gates.channel_mixing {
            return refuse("model.channel_mixing = true: its heads share keys, which the delta rule cannot");
        }
        if gates.input_gate == InputGate::Complementary && gates.decay != DecayKind::Head {
            return refuse(
                "model.input_gate = \"complementary\" is its step size, which only model.decay = \"head\" has: give \
                 \"free\" or \"none\"",
            );
        }
        Ok(())
    }

    fn build(&self, g: &mut Graph, x: TensorId, c: &BlockContext<'_>) -> Result<TensorId> {
        let gates = c.gates();
        let (d, n) = (c.config.d_model, c.config.d_state.unwrap_or(STATES));
        let (h, p, inner, rows) = (
            heads(c.config),
            c.config.head_dim(),
            c.config.expand * d,
            c.rows(),
        );
        let has_step = gates.decay == DecayKind::Head;
        let step = has_step.then(|| {
            let dt_bias = g.param("dt_bias", &[h], Init::StepBias);
            (dt_bias, g.param("A_log", &[h], Init::LogUniform(1.0, 16.0)))
        });
        let skip = g.param("D", &[h], Init::Constant(1.0));
        // Columns of the projection: z, then x, B and C, then the steps. x is apart where its parameters can be.
        let channels = inner + 2 * n;
        let convs = match inner.is_multiple_of(64) {
            true => vec![inner, 2 * n],
            false => vec![channels],
        };
        let gate = gates.readout_gate.then_some(inner);
        let steps = gates.data_dependent_decay.then_some(h);
        let widths: Vec<usize> = gate
            .into_iter()
            .chain(convs.iter().copied())
            .chain(steps)
            .collect();
        let parts = c.linear_parts(g, "in_proj", x, d, &widths)?;
        let (z, parts) = parts.split_at(usize::from(gates.readout_gate));
        let (xbc, dt) = parts.split_at(convs.len());
        let (z, dt) = (z.first().copied(), dt.first().copied());
        let xbc: Vec<(TensorId, usize)> = xbc.iter().copied().zip(convs).collect();
        let conved = c.conv_parts(g, "conv1d", &xbc, true)?;
        let (_, width) = xbc[xbc.len() - 1];
        let u = match conved[..] {
            [u, _] => u,
            _ => c.slice(g, conved[0], width, 0, inner)?,
        };
        let bc = conved[conved.len() - 1];
        let write = c.slice(g, bc, width, width - 2 * n, n)?;
        let read = c.slice(g, bc, width, width - n, n)?;

        let mut v = u;
        let mut decay = None;
        if let Some((dt_bias, a_log)) = step {
            let dt_raw = match dt {
                Some(dt) => dt,
                None => c.constant(g, rows * h, 0.0)?,
            };
            if gates.input_gate == InputGate::Complementary {
                let both = g.call(SsmGate { rows, h, p }, &[u, dt_raw, dt_bias, a_log])?;
                (decay, v) = (Some(both[0]), both[1]);
                c.show(Gate::Write, Form::Step, &[dt_raw, dt_bias], h);
            } else {
                decay = Some(one(g, DecayGate::new(rows, h), &[dt_raw, a_log, dt_bias])?);
            }
        }
        if gates.input_gate == InputGate::Free {
            let y = c.linear(g, "b_proj", x, [d, h], false)?;
            let beta = c.pointwise(g, Function::Sigmoid, 1.0, y)?;
            v = one(g, Scale::activations(rows * h, p), &[u, beta])?;
            c.show(Gate::Write, Form::Plain, &[beta], h);
        }
        if let Some(log) = decay {
            c.show(Gate::Decay, Form::Exp, &[log], h);
        }
        let scan = LinearAttention {
            b: c.b,
            t: c.t,
            h,
            d_k: n,
            d_v: p,
            scale: 1.0,
            decay: match gates.decay {
                DecayKind::Fixed => Decay::Constant,
                DecayKind::Head => Decay::Scalar,
                _ => Decay::None,
            },
            shared_qk: true,
            chunk: c.config.chunk,
        };
        let ins: Vec<TensorId> = [read, write, v].into_iter().chain(decay).collect();
        let o = c.over_time(g, scan, &ins)?;
        let y = one(g, Skip { rows, h, p }, &[o, u, skip])?;
        if let Some(gate) = z {
            c.show(Gate::Readout, Form::Silu, &[gate], h);
        }
        let y = c.norm(g, "norm.weight", [rows, inner], y, z, Kind::GateBefore)?;
        c.linear(g, "out_proj", y, [inner, d], false)
    }
}

/// Heads of the recurrence: those of the model, times what its inner width is wider.
fn heads(config: &ModelConfig) -> usize {
    config.expand * config.heads
}

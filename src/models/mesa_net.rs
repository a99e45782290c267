//! `MesaNet` (models.md 3.8): an additive memory whose read-out solves a least-squares problem over what it has seen.

use super::context::one;
use super::switches::refused;
use super::{Block, BlockContext, DecayKind, Form, Gate, Gates, InputGate, ModelConfig, Taxonomy};
use crate::error::Result;
use crate::graph::{Graph, Init};
use crate::ops::decay_gate::DecayGate;
use crate::ops::fill::{Content, Fill};
use crate::ops::l2_norm::L2Norm;
use crate::ops::mesa::Mesa;
use crate::ops::pointwise::{Function, Pointwise};
use crate::ops::repeat::Repeat;
use crate::ops::rms_norm::Kind;
use crate::port::OpDef;
use crate::tensor::TensorId;

/// Widest head.
const MAX_WIDTH: usize = 256;

/// Smallest regulariser; it starts at 1.
const LEAST_LAMBDA: f32 = 0.25;

/// The gates without switches.
const GATES: Gates = Gates {
    decay: DecayKind::Head,
    data_dependent_decay: true,
    input_gate: InputGate::Free,
    readout_gate: false,
    channel_mixing: false,
    conv: true,
};

/// See the module docs.
#[derive(Debug)]
pub(super) struct MesaNet;

impl Block for MesaNet {
    fn name(&self) -> &'static str {
        "mesa_net"
    }

    fn describe(&self) -> &'static str {
        "additive memory that is read through a least-squares fit of all it has seen"
    }

    fn taxonomy(&self) -> Taxonomy {
        Taxonomy {
            transition: "alpha",
            decay: "head, data-dependent",
            write_gate: "beta in (0,1), a head",
            complementary: "no (alpha and beta are free)",
            readout: "(sum beta k k^T + lambda)^-1 q",
            output_gate: "no",
            channel_mixing: "at the read-out",
            gate_params: "2 d H + 2 H",
            paper_gate_params: "-",
        }
    }

    fn gates(&self) -> Option<Gates> {
        Some(GATES)
    }

    /// `a_proj` (decay) and `b_proj` (write), with biases: 2 d H + 2 H.
    fn gate_params(&self, config: &ModelConfig) -> usize {
        let gates = GATES.switched(&config.switches);
        let (d, h) = (config.d_model, config.heads);
        let decay = match (gates.decay, gates.data_dependent_decay) {
            (DecayKind::Head, true) => d * h + h,
            (DecayKind::Head, false) => h,
            _ => 0,
        };
        let input = if gates.input_gate == InputGate::Free {
            d * h + h
        } else {
            0
        };
        decay + input + if gates.readout_gate { d * d } else { 0 }
    }

    fn validate(&self, config: &ModelConfig) -> Result<()> {
        let refuse = |reason: &str| Err(refused(self.name(), reason));
        let gates = GATES.switched(&config.switches);
        let width = config.head_dim();
        if !(1..=MAX_WIDTH).contains(&width) {
            return refuse(&format!("a head of {width} channels: at most {MAX_WIDTH}"));
        }
        if gates.channel_mixing {
            return refuse(
                "model.channel_mixing = true: its channels mix where it is read, not in the state",
            );
        }
        if matches!(gates.decay, DecayKind::Channel | DecayKind::State) {
            return refuse("model.decay: it has one a head; allowed: \"none\", \"fixed\", \"head\"");
        }
        Ok(())
    }

    fn build(&self, g: &mut Graph, x: TensorId, c: &BlockContext<'_>) -> Result<TensorId> {
        let gates = c.gates();
        let (h, d, rows) = (c.config.heads, c.config.d_model, c.rows());
        let width = d / h;
        let start = ((1.0 - f64::from(LEAST_LAMBDA)).exp_m1()).ln();
        let lambda = g.param("lambda_params", &[d], Init::Constant(start));
        let above = Pointwise {
            numel: d,
            function: Function::Softplus,
            scale: 1.0,
            offset: LEAST_LAMBDA,
        };
        let lambda = one(g, above, &[lambda])?;
        let unit = |g: &mut Graph, y: TensorId| {
            let norm = L2Norm {
                rows: rows * h,
                d: width,
                eps: 1e-6,
                wide: true,
            };
            one(g, norm, &[y])
        };
        let mut parts = vec!["q_proj", "k_proj", "v_proj"];
        parts.extend(gates.readout_gate.then_some("g_proj"));
        let mut parts: Vec<_> = parts.into_iter().map(|name| vec![(name, d)]).collect();
        let both = DecayGate::biased(rows, h);
        let both = (gates.heads_from_input() && both.validate().is_ok()).then_some(both);
        parts.extend(both.is_some().then(|| vec![("a_proj", h), ("b_proj", h)]));
        let of_x = c.projections(g, x, d, &parts)?;
        let (v, gate) = (of_x["v_proj"], of_x.get("g_proj"));
        let q = c.conv(g, "q_conv1d", of_x["q_proj"], d, false)?;
        let k = c.conv(g, "k_conv1d", of_x["k_proj"], d, false)?;
        let (q, k) = (unit(g, q)?, unit(g, k)?);
        let [decay, beta] = match of_x.get("a_proj").zip(both) {
            Some((y, both)) => {
                let biases = ["a_proj.bias", "b_proj.bias"].map(|name| g.param(name, &[h], bias_init(d)));
                let made = g.call(both, &[y, biases[0], biases[1]])?;
                [made[0], made[1]]
            }
            None => gates_apart(g, x, c)?,
        };
        if gates.decay == DecayKind::Head {
            c.show(Gate::Decay, Form::Exp, &[decay], h);
        }
        if gates.input_gate != InputGate::None {
            c.show(Gate::Write, Form::Plain, &[beta], h);
        }
        let memory = Mesa {
            b: c.b,
            t: c.t,
            h,
            d: width,
            chunk: c.config.chunk,
        };
        let o = c.over_time(g, memory, &[q, k, v, decay, beta, lambda])?;
        if let Some(gate) = gate {
            c.show(Gate::Readout, Form::Silu, &[gate], h);
        }
        let o = c.norm(g, "o_norm.weight", [rows * h, width], o, gate, Kind::GateAfter)?;
        c.linear(g, "o_proj", o, [d, d], false)
    }
}

fn bias_init(d: usize) -> Init {
    Init::Uniform((d as f64).powf(-0.5))
}

/// Log decays and write strengths, \[rows, H\] each, where not both come from x.
fn gates_apart(g: &mut Graph, x: TensorId, c: &BlockContext<'_>) -> Result<[TensorId; 2]> {
    let gates = c.gates();
    let (h, d, rows) = (c.config.heads, c.config.d_model, c.rows());
    let decay = match gates.decay {
        DecayKind::Head => {
            let y = if gates.data_dependent_decay {
                c.linear(g, "a_proj", x, [d, h], true)?
            } else {
                let bias = g.param("a_proj.bias", &[h], bias_init(d));
                one(g, Repeat { rows, d: h }, &[bias])?
            };
            c.pointwise(g, Function::LogSigmoid, 1.0, y)?
        }
        DecayKind::Fixed => {
            let fixed = Fill {
                numel: rows * h,
                content: Content::Retention(h),
            };
            one(g, fixed, &[])?
        }
        _ => c.constant(g, rows * h, 0.0)?,
    };
    let beta = match gates.input_gate {
        InputGate::Free => {
            let y = c.linear(g, "b_proj", x, [d, h], true)?;
            c.pointwise(g, Function::Sigmoid, 1.0, y)?
        }
        InputGate::Complementary => c.pointwise(g, Function::Complement, 1.0, decay)?,
        InputGate::None => c.constant(g, rows * h, 1.0)?,
    };
    Ok([decay, beta])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paper(d_model: usize, heads: usize) -> ModelConfig {
        let mut model = ModelConfig::new(&MesaNet, 8, d_model, 41, 1601);
        model.heads = heads;
        model
    }

    #[test]
    fn lambda_starts_at_one() {
        let net = paper(32, 4).eval_net(1, 1, 1).unwrap();
        let bank = crate::models::initial_parameters(&net.graph, 1);
        let lambda = net
            .graph
            .params()
            .iter()
            .find(|p| net.graph.tensor(p.tensor).name == "layers.0.lambda_params")
            .unwrap();
        let start = f64::from(bank[lambda.offset]);
        assert!((start.exp().ln_1p() + 0.25 - 1.0).abs() < 1e-6, "{start}");
    }

    #[test]
    fn wide_heads_are_refused() {
        let refused = paper(1024, 2).validate().unwrap_err().to_string();
        assert_eq!(refused, "mesa_net: a head of 512 channels: at most 256");
    }
}

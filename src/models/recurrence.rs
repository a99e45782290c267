//! The family of `delta_net`, `gla`, `retnet`, `gated_delta_net`, `gated_delta_product` (models.md 3.4 to 3.8) and `kda`
//! (models.md 8): one block, a matrix as state, in which decay, write, read-out gate and convolution are switches.
//!
//! `S_t = decay S_{t-1} + write(k_t, v_t)`, `o_t = d_k^-1/2 S_t^T q_t`, then a norm, the read-out gate and a projection.

use super::context::one;
use super::parts::Projected;
use super::switches::refused;
use super::{Block, BlockContext, DecayKind, Form, Gate, Gates, InputGate, ModelConfig, Taxonomy};
use crate::error::Result;
use crate::graph::{Graph, Init};
use crate::ops::Decay;
use crate::ops::decay_gate::DecayGate;
use crate::ops::delta_rule::{DeltaRule, EPS, MAX_HOUSEHOLDER};
use crate::ops::fill::{Content, Fill};
use crate::ops::l2_norm::L2Norm;
use crate::ops::linear_attention::LinearAttention;
use crate::ops::pointwise::Function;
use crate::ops::repeat::Repeat;
use crate::ops::rms_norm::Kind;
use crate::ops::rope::Rope;
use crate::ops::scale::Scale;
use crate::port::OpDef;
use crate::tensor::{Precision, TensorId};

/// Rank of the projection of a decay by channel.
const GATE_RANK: usize = 16;
/// What log decays by channel are divided by.
const GATE_NORMALISER: f32 = 16.0;
/// Base of the rotary positions.
const ROPE_BASE: f32 = 10_000.0;
/// Widest key or value head.
const MAX_WIDTH: usize = 256;

/// Where a decay by key channel comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChannelGate {
    /// `log sigma(y) / 16` of a projection of rank 16 with a bias, `gk_proj`.
    LogSigmoid,
    /// `-exp(A_log) softplus(y + dt_bias)` of a projection of rank `d_v`, `f_proj`: the rate is a head's, the bias a channel's.
    Softplus,
}

/// The read-out gate, from `g_proj`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readout {
    /// silu of a projection.
    Silu,
    /// sigma of a projection of rank `d_v` with a bias.
    LowRankSigmoid,
}

/// A model of the family: its gates, which the configuration may switch, and what is its own besides them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recurrence {
    pub(super) name: &'static str,
    pub(super) describe: &'static str,
    pub(super) taxonomy: Taxonomy,
    pub(super) gates: Gates,
    /// Queries and keys of length 1.
    pub(super) unit_keys: bool,
    /// Rotary positions on queries and keys.
    pub(super) rotary: bool,
    /// Several writes a token: `ModelConfig::householder` of them.
    pub(super) several_writes: bool,
    /// The write strength is between 0 and this.
    pub(super) strongest: f32,
    pub(super) channel_gate: ChannelGate,
    pub(super) readout: Readout,
    /// Name of the weight of the output norm, with and without read-out gate.
    pub(super) norm: [&'static str; 2],
}

impl Block for Recurrence {
    fn name(&self) -> &'static str {
        self.name
    }

    fn describe(&self) -> &'static str {
        self.describe
    }

    fn taxonomy(&self) -> Taxonomy {
        self.taxonomy
    }

    fn gates(&self) -> Option<Gates> {
        Some(self.gates)
    }

    fn gate_params(&self, config: &ModelConfig) -> usize {
        let (d, h) = (config.d_model, config.heads);
        let (inner, rank) = (config.expand * d, config.expand * config.head_dim());
        let gates = self.gates.switched(&config.switches);
        let decay = match (gates.decay, gates.data_dependent_decay) {
            (DecayKind::Head, true) => d * h + 2 * h,
            (DecayKind::Head, false) => 2 * h,
            (DecayKind::Channel, from_data) => {
                let (rank, fixed) = match self.channel_gate {
                    ChannelGate::LogSigmoid => (GATE_RANK, d),
                    ChannelGate::Softplus => (rank, d + h),
                };
                fixed + if from_data { 2 * rank * d } else { 0 }
            }
            _ => 0,
        };
        let input = match gates.input_gate {
            InputGate::Free => self.householder(config) * d * h,
            _ => 0,
        };
        let readout = match (gates.readout_gate, self.readout) {
            (false, _) => 0,
            (true, Readout::Silu) => inner * d,
            (true, Readout::LowRankSigmoid) => rank * (d + inner) + inner,
        };
        decay + input + readout
    }

    fn validate(&self, config: &ModelConfig) -> Result<()> {
        let refuse = |reason: String| Err(refused(self.name, &reason));
        let gates = self.gates.switched(&config.switches);
        let (d_k, n) = (config.head_dim(), self.householder(config));
        let d_v = config.expand * d_k;
        if !(1..=MAX_WIDTH).contains(&d_k) || d_v > MAX_WIDTH {
            return refuse(format!(
                "a head of {d_k} channels (and values of {d_v}): at most {MAX_WIDTH} are supported"
            ));
        }
        if !(1..=MAX_HOUSEHOLDER).contains(&n) {
            return refuse(format!(
                "{n} Householder steps a token: allowed: 1 to {MAX_HOUSEHOLDER}"
            ));
        }
        if self.rotary && !d_k.is_multiple_of(2) {
            return refuse(format!(
                "a head of {d_k} channels: rotary positions need an even number (d_model {} with {} heads)",
                config.d_model, config.heads
            ));
        }
        let complementary = gates.input_gate == InputGate::Complementary;
        match gates.decay {
            DecayKind::State => {
                refuse("model.decay = \"state\" is Mamba's: this state is a matrix a head".to_owned())
            }
            DecayKind::Channel if gates.channel_mixing && complementary => refuse(
                "model.input_gate = \"complementary\" with model.decay = \"channel\" and model.channel_mixing = true: the \
                 delta rule has one write strength a head; switch one of them"
                    .to_owned(),
            ),
            _ if n > 1 && !gates.channel_mixing => refuse(format!(
                "model.channel_mixing = false with {n} steps a token: only the delta rule takes several; give \
                 model.householder = 1"
            )),
            _ if n > 1 && complementary => refuse(format!(
                "model.input_gate = \"complementary\" with {n} steps a token and one decay: give model.householder = 1"
            )),
            _ => Ok(()),
        }
    }

    fn build(&self, g: &mut Graph, x: TensorId, c: &BlockContext<'_>) -> Result<TensorId> {
        let (gates, householder) = (c.gates(), self.householder(c.config));
        let (h, d) = (c.config.heads, c.config.d_model);
        let (rows, inner, d_k) = (c.rows(), c.config.expand * d, d / h);
        let d_v = inner / h;
        let [of_k, of_v] = [householder * d, householder * inner];
        let mut parts = vec![
            vec![("q_proj", d)],
            vec![("k_proj", of_k)],
            vec![("v_proj", of_v)],
        ];
        parts.extend(gates.readout_gate.then(|| match self.readout {
            Readout::Silu => vec![("g_proj", inner)],
            Readout::LowRankSigmoid => vec![("g_proj.0", d_v)],
        }));
        parts.extend(self.narrow_projection(c));
        let of_x = c.projections(g, x, d, &parts)?;
        let mut q = c.conv(g, "q_conv1d", of_x["q_proj"], d, false)?;
        let mut k = c.conv(g, "k_conv1d", of_x["k_proj"], of_k, false)?;
        let mut v = c.conv(g, "v_conv1d", of_x["v_proj"], of_v, false)?;
        // In mixed precision the op brings them to unit length itself, where its kernels can; turning them keeps their length.
        let unit_in_op = self.unit_keys
            && g.precision() == Precision::Mixed
            && c.decoding.is_none()
            && gates.channel_mixing
            && gates.decay != DecayKind::Channel;
        if self.unit_keys && !unit_in_op {
            q = unit(g, q, rows * h, d_k)?;
            k = unit(g, k, rows * householder * h, d_k)?;
        }
        if self.rotary {
            q = rotated(g, q, c, d_k)?;
            k = rotated(g, k, c, d_k)?;
        }
        let (decay, written) = self.decay(g, c, &of_x)?;
        if let Some(log) = decay
            && gates.decay != DecayKind::Fixed
        {
            c.show(Gate::Decay, Form::Exp, &[log], h);
        }
        let beta = match gates.input_gate {
            InputGate::Free if written.is_some() => written,
            InputGate::Free => {
                let y = match of_x.get("b_proj") {
                    Some(y) => y,
                    None => c.linear(g, "b_proj", x, [d, householder * h], false)?,
                };
                Some(c.pointwise(g, Function::Sigmoid, self.strongest, y)?)
            }
            InputGate::Complementary => {
                let log = decay.expect("a complementary gate has a decay");
                Some(c.pointwise(g, Function::Complement, 1.0, log)?)
            }
            InputGate::None => None,
        };
        if let Some(beta) = beta {
            match gates.input_gate {
                InputGate::Free => c.show_writes(Gate::Write, Form::Plain, &[beta], h),
                _ => c.show(Gate::Write, Form::Plain, &[beta], h),
            }
        }
        let (form, kind) = match self.readout {
            Readout::Silu => (Form::Silu, Kind::GateAfter),
            Readout::LowRankSigmoid => (Form::Sigmoid, Kind::SigmoidAfter),
        };
        let gate = match (gates.readout_gate, self.readout) {
            (false, _) => None,
            (true, Readout::Silu) => of_x.get("g_proj"),
            (true, Readout::LowRankSigmoid) => {
                Some(c.linear(g, "g_proj.1", of_x["g_proj.0"], [d_v, inner], true)?)
            }
        };
        if let Some(gate) = gate {
            c.show(Gate::Readout, form, &[gate], h);
        }
        let scale = (d_k as f64).powf(-0.5) as f32;
        let of_state = match gates.decay {
            DecayKind::None | DecayKind::State => Decay::None,
            DecayKind::Fixed if decay.is_none() => Decay::Constant,
            DecayKind::Fixed | DecayKind::Head => Decay::Scalar,
            DecayKind::Channel => Decay::Channel,
        };
        let o = if gates.channel_mixing {
            let beta = match beta {
                Some(beta) => beta,
                None => c.constant(g, rows * householder * h, 1.0)?,
            };
            let rule = DeltaRule {
                b: c.b,
                t: c.t,
                h,
                d_k,
                d_v,
                scale,
                decay: of_state,
                householder,
                chunk: c.config.chunk,
                unit: unit_in_op,
            };
            let ins: Vec<TensorId> = [q, k, v, beta].into_iter().chain(decay).collect();
            c.over_time(g, rule, &ins)?
        } else {
            if let Some(beta) = beta {
                if gates.input_gate == InputGate::Complementary && gates.decay == DecayKind::Channel {
                    k = one(g, Scale::activations(rows * d, 1), &[k, beta])?;
                } else {
                    v = one(g, Scale::activations(rows * h, d_v), &[v, beta])?;
                }
            }
            let attention = LinearAttention {
                b: c.b,
                t: c.t,
                h,
                d_k,
                d_v,
                scale,
                decay: of_state,
                shared_qk: false,
                chunk: c.config.chunk,
            };
            let ins: Vec<TensorId> = [q, k, v].into_iter().chain(decay).collect();
            c.over_time(g, attention, &ins)?
        };
        let name = self.norm[usize::from(gate.is_none())];
        let o = c.norm(g, name, [rows * h, d_v], o, gate, kind)?;
        c.linear(g, "o_proj", o, [inner, d], false)
    }
}

impl Recurrence {
    fn householder(&self, config: &ModelConfig) -> usize {
        if self.several_writes {
            config.householder
        } else {
            1
        }
    }

    /// The gate that makes decays and write strengths of heads from the columns of one product, if both come from x.
    fn decays_and_writes(&self, c: &BlockContext<'_>) -> Option<DecayGate> {
        let (gates, h) = (c.gates(), c.config.heads);
        let both = DecayGate {
            writes: self.householder(c.config) * h,
            strongest: self.strongest,
            ..DecayGate::new(c.rows(), h)
        };
        (gates.heads_from_input() && both.validate().is_ok()).then_some(both)
    }

    /// The weights of the gates of heads, or of the low rank of those of channels, and their columns: what is narrow in x's
    /// projections.
    fn narrow_projection(&self, c: &BlockContext<'_>) -> Option<Vec<(&'static str, usize)>> {
        let gates = c.gates();
        let (h, d) = (c.config.heads, c.config.d_model);
        let writes = ("b_proj", self.householder(c.config) * h);
        match gates.decay {
            DecayKind::Head if self.decays_and_writes(c).is_some() => Some(vec![("a_proj", h), writes]),
            DecayKind::Head if gates.data_dependent_decay => Some(vec![("a_proj", h)]),
            DecayKind::Channel if gates.data_dependent_decay => Some(match self.channel_gate {
                ChannelGate::Softplus => vec![("f_proj.0", c.config.expand * d / h)],
                _ => vec![("gk_proj.0", GATE_RANK)],
            }),
            _ if gates.input_gate == InputGate::Free => Some(vec![writes]),
            _ => None,
        }
    }

    /// The log decay of every token, where an op takes one: \[rows, H\] or, by channel, \[rows, d\]. Beside it the write strengths,
    /// where the same call makes them.
    fn decay(
        &self,
        g: &mut Graph,
        c: &BlockContext<'_>,
        of_x: &Projected,
    ) -> Result<(Option<TensorId>, Option<TensorId>)> {
        let (gates, rows) = (c.gates(), c.rows());
        let (h, d) = (c.config.heads, c.config.d_model);
        let from_data = gates.data_dependent_decay;
        let decay = match gates.decay {
            DecayKind::None | DecayKind::State => return Ok((None, None)),
            DecayKind::Fixed => {
                // The recurrence knows these decays by itself.
                if gates.input_gate != InputGate::Complementary {
                    return Ok((None, None));
                }
                let content = Content::Retention(h);
                one(
                    g,
                    Fill {
                        numel: rows * h,
                        content,
                    },
                    &[],
                )?
            }
            DecayKind::Head => {
                let a_log = g.param("A_log", &[h], Init::LogUniform(1e-4, 16.0));
                let dt_bias = g.param("dt_bias", &[h], Init::StepBias);
                let y = match (of_x.get("a_proj"), self.decays_and_writes(c)) {
                    (Some(y), Some(both)) => {
                        let made = g.call(both, &[y, a_log, dt_bias])?;
                        return Ok((Some(made[0]), Some(made[1])));
                    }
                    (Some(y), None) => y,
                    (None, _) => c.constant(g, rows * h, 0.0)?,
                };
                one(g, DecayGate::new(rows, h), &[y, a_log, dt_bias])?
            }
            DecayKind::Channel if self.channel_gate == ChannelGate::Softplus => {
                let d_k = d / h;
                let a_log = g.param("A_log", &[h], Init::LogUniform(1.0, 16.0));
                let dt_bias = g.param("dt_bias", &[d], Init::StepBias);
                let y = if from_data {
                    let low = of_x["f_proj.0"];
                    let rank = g.tensor(low).shape[1];
                    c.linear(g, "f_proj.1", low, [rank, d], false)?
                } else {
                    c.constant(g, rows * d, 0.0)?
                };
                // The rate of a head, for each of its channels.
                let ones = c.constant(g, d, 1.0)?;
                let rates = one(g, Scale::f32(h, d_k), &[ones, a_log])?;
                one(g, DecayGate::new(rows, d), &[y, rates, dt_bias])?
            }
            DecayKind::Channel => {
                let y = if from_data {
                    c.linear(g, "gk_proj.1", of_x["gk_proj.0"], [GATE_RANK, d], true)?
                } else {
                    let r = (GATE_RANK as f64).powf(-0.5);
                    let bias = g.param("gk_proj.1.bias", &[d], Init::Uniform(r));
                    one(g, Repeat { rows, d }, &[bias])?
                };
                c.pointwise(g, Function::LogSigmoid, 1.0 / GATE_NORMALISER, y)?
            }
        };
        Ok((Some(decay), None))
    }
}

fn unit(g: &mut Graph, y: TensorId, rows: usize, d: usize) -> Result<TensorId> {
    one(
        g,
        L2Norm {
            rows,
            d,
            eps: EPS,
            wide: false,
        },
        &[y],
    )
}

fn rotated(g: &mut Graph, y: TensorId, c: &BlockContext<'_>, d: usize) -> Result<TensorId> {
    let turn = Rope {
        b: c.b,
        t: c.t,
        h: c.config.heads,
        d,
        base: ROPE_BASE,
        direction: 1,
        position: false,
    };
    c.rope(g, turn, y)
}

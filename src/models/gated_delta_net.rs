//! Gated DeltaNet (models.md 3.6): the delta rule with one decay and one write strength a head and token.

use super::{BlockContext, ModelConfig, Taxonomy, linear};
use crate::error::{Result, UserError};
use crate::graph::{Graph, Init};
use crate::ops::decay_gate::DecayGate;
use crate::ops::delta_rule::DeltaRule;
use crate::ops::l2_norm::L2Norm;
use crate::ops::rms_norm::{Kind, RmsNorm};
use crate::ops::short_conv::ShortConv;
use crate::ops::sigmoid::Sigmoid;
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
    let dk = config.head_dim();
    if (1..=128).contains(&dk) {
        return Ok(());
    }
    let reason = format!(
        "a head of {dk} channels (and values of {}): at most 128 (256) are supported",
        2 * dk
    );
    Err(UserError::Shape {
        op: "gated_delta_net",
        reason,
    }
    .into())
}

pub(super) fn build(g: &mut Graph, x: TensorId, c: &BlockContext<'_>) -> Result<TensorId> {
    let (b, t, h, d) = (c.b, c.t, c.config.heads, c.config.d_model);
    let (rows, dk, dv) = (b * t, d / h, 2 * d / h);
    let a_log = g.param("A_log", &[h], Init::LogUniform(1e-4, 16.0));
    let dt_bias = g.param("dt_bias", &[h], Init::StepBias);
    let conved = |g: &mut Graph, name: char, out: usize| {
        let y = g.scoped(&format!("{name}_proj"), |g| linear(g, x, rows, d, out, false))?;
        let w = g.param(&format!("{name}_conv1d.weight"), &[out, 1, 4], Init::Uniform(0.5));
        Ok::<_, crate::error::Error>(
            g.call(
                ShortConv {
                    b,
                    t,
                    channels: out,
                    bias: false,
                },
                &[y, w],
            )?[0],
        )
    };
    let (q, k, v) = (conved(g, 'q', d)?, conved(g, 'k', d)?, conved(g, 'v', 2 * d)?);
    let norm = L2Norm {
        rows: rows * h,
        d: dk,
        eps: 1e-6,
    };
    let (q, k) = (g.call(norm.clone(), &[q])?[0], g.call(norm, &[k])?[0]);
    let decay = g.scoped("a_proj", |g| linear(g, x, rows, d, h, false))?;
    let decay = g.call(DecayGate { rows, h }, &[decay, a_log, dt_bias])?[0];
    let beta = g.scoped("b_proj", |g| linear(g, x, rows, d, h, false))?;
    let beta = g.call(
        Sigmoid {
            numel: rows * h,
            scale: 1.0,
        },
        &[beta],
    )?[0];
    let gate = g.scoped("g_proj", |g| linear(g, x, rows, d, 2 * d, false))?;
    let scale = (dk as f64).powf(-0.5) as f32;
    let rule = DeltaRule {
        b,
        t,
        h,
        dk,
        dv,
        scale,
        gated: true,
        chunk: c.config.chunk,
    };
    let o = g.call(rule, &[q, k, v, beta, decay])?[0];
    let weight = g.param("o_norm.weight", &[dv], Init::Constant(1.0));
    let norm = RmsNorm {
        rows: rows * h,
        d: dv,
        eps: 1e-5,
        kind: Kind::GateAfter,
    };
    let o = g.call(norm, &[o, gate, weight])?[0];
    g.scoped("o_proj", |g| linear(g, o, rows, 2 * d, d, false))
}

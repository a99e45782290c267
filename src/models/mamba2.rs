//! Mamba2 (models.md 3.3): an additive memory whose step size both forgets and writes, with one read and one write
//! vector for all heads.

use super::{BlockContext, ModelConfig, Taxonomy, linear};
use crate::error::{Result, UserError};
use crate::graph::{Graph, Init};
use crate::ops::linear_attention::{Decay, LinearAttention};
use crate::ops::rms_norm::{Kind, RmsNorm};
use crate::ops::short_conv::ShortConv;
use crate::ops::skip::Skip;
use crate::ops::slice::Slice;
use crate::ops::ssm_gate::SsmGate;
use crate::tensor::TensorId;

/// Largest state and head width that the recurrence can have.
const MAX_WIDTH: usize = 256;

pub(super) const TAXONOMY: Taxonomy = Taxonomy {
    transition: "exp(dt a)",
    decay: "head, data-dependent",
    write_gate: "dt",
    complementary: "yes, through dt",
    readout: "C",
    output_gate: "SiLU(z), before the norm",
    channel_mixing: "no",
};

/// Rows of `in_proj` for dt and `A_log`, `dt_bias` (decay and write), those for z (read-out): 2 d^2 + 2 d H + 4 H.
pub(super) fn gate_params(d: usize, heads: usize) -> usize {
    2 * d * d + 2 * d * heads + 4 * heads
}

pub(super) fn validate(config: &ModelConfig) -> Result<()> {
    let (p, n) = (config.head_dim(), config.d_state);
    let reason = if !(1..=MAX_WIDTH).contains(&n) {
        format!("{n} states: 1 to {MAX_WIDTH}")
    } else if !(1..=MAX_WIDTH).contains(&p) {
        format!("a head of {p} channels: at most {MAX_WIDTH}")
    } else {
        return Ok(());
    };
    Err(UserError::Shape { op: "mamba2", reason }.into())
}

pub(super) fn build(g: &mut Graph, x: TensorId, c: &BlockContext<'_>) -> Result<TensorId> {
    let (b, t, d, n) = (c.b, c.t, c.config.d_model, c.config.d_state);
    // Twice the heads, as the inner width is twice the model's.
    let (h, p) = (2 * c.config.heads, c.config.head_dim());
    let (rows, inner) = (b * t, 2 * d);
    let dt_bias = g.param("dt_bias", &[h], Init::StepBias);
    let a_log = g.param("A_log", &[h], Init::LogUniform(1.0, 16.0));
    let skip = g.param("D", &[h], Init::Constant(1.0));
    let part = |g: &mut Graph, x: TensorId, width: usize, from: usize, len: usize| {
        let slice = Slice {
            rows,
            width,
            from,
            len,
        };
        Ok::<_, crate::error::Error>(g.call(slice, &[x])?[0])
    };
    let channels = inner + 2 * n;
    let all = inner + channels + h;
    let projected = g.scoped("in_proj", |g| linear(g, x, rows, d, all, false))?;
    let z = part(g, projected, all, 0, inner)?;
    let xbc = part(g, projected, all, inner, channels)?;
    let dt_raw = part(g, projected, all, inner + channels, h)?;

    let w = g.param("conv1d.weight", &[channels, 1, 4], Init::Uniform(0.5));
    let bias = g.param("conv1d.bias", &[channels], Init::Uniform(0.5));
    let conv = ShortConv {
        b,
        t,
        channels,
        bias: true,
    };
    let xbc = g.call(conv, &[xbc, w, bias])?[0];
    let u = part(g, xbc, channels, 0, inner)?;
    let write = part(g, xbc, channels, inner, n)?;
    let read = part(g, xbc, channels, inner + n, n)?;

    let gates = g.call(SsmGate { rows, h, p }, &[u, dt_raw, dt_bias, a_log])?;
    let scan = LinearAttention {
        b,
        t,
        h,
        dk: n,
        dv: p,
        scale: 1.0,
        decay: Decay::Scalar,
        shared_qk: true,
        chunk: c.config.chunk,
    };
    let o = g.call(scan, &[read, write, gates[1], gates[0]])?[0];
    let y = g.call(Skip { rows, h, p }, &[o, u, skip])?[0];
    let weight = g.param("norm.weight", &[inner], Init::Constant(1.0));
    let norm = RmsNorm {
        rows,
        d: inner,
        eps: 1e-5,
        kind: Kind::GateBefore,
    };
    let y = g.call(norm, &[y, z, weight])?[0];
    g.scoped("out_proj", |g| linear(g, y, rows, inner, d, false))
}

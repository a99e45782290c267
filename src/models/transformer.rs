//! The paper's Transformer (models.md 3.1): attention with qk-norm and rotary positions, then `SwiGLU`.
//!
//! Its output already contains its input, and the stack adds it once more, as in the reference.

use super::{BlockContext, ModelConfig, Taxonomy, linear};
use crate::error::{Result, UserError};
use crate::graph::{Graph, Init};
use crate::ops::attention::Attention;
use crate::ops::dropout::Dropout;
use crate::ops::rms_norm::{Kind, RmsNorm};
use crate::ops::rope::Rope;
use crate::ops::swiglu::SwiGlu;
use crate::tensor::TensorId;

pub(super) const TAXONOMY: Taxonomy = Taxonomy {
    transition: "state grows with t",
    decay: "none",
    write_gate: "none",
    complementary: "-",
    readout: "q, softmax",
    output_gate: "no",
    channel_mixing: "-",
};

/// Attention has no gates.
pub(super) fn gate_params(_d: usize, _heads: usize) -> usize {
    0
}

pub(super) fn validate(config: &ModelConfig) -> Result<()> {
    let dk = config.head_dim();
    if dk.is_multiple_of(2) && dk <= 256 {
        return Ok(());
    }
    let reason = format!(
        "a head of {dk} channels: rotary positions need an even number, attention at most 256 (d_model {} with {} heads)",
        config.d_model, config.heads
    );
    Err(UserError::Shape {
        op: "transformer",
        reason,
    }
    .into())
}

pub(super) fn build(g: &mut Graph, x: TensorId, c: &BlockContext<'_>) -> Result<TensorId> {
    let (b, t, h, d) = (c.b, c.t, c.config.heads, c.config.d_model);
    let (rows, dk) = (b * t, d / h);
    let beta = g.param("beta", &[1], Init::Constant(1.0));
    let proj = |g: &mut Graph, name: &str, x: TensorId, inp: usize, out: usize| {
        g.scoped(name, |g| linear(g, x, rows, inp, out, true))
    };
    let (q, k) = (proj(g, "q_proj", x, d, d)?, proj(g, "k_proj", x, d, d)?);
    let v = proj(g, "v_proj", x, d, d)?;
    let turned = |g: &mut Graph, name: &str, y: TensorId| {
        let weight = g.param(name, &[dk], Init::Constant(1.0));
        let norm = RmsNorm {
            rows: rows * h,
            d: dk,
            eps: 1e-8,
            kind: Kind::OuterEps,
        };
        let y = g.call(norm, &[y, weight])?[0];
        Ok::<_, crate::error::Error>(
            g.call(
                Rope {
                    b,
                    t,
                    h,
                    d: dk,
                    base: 1000.0,
                    direction: -1,
                },
                &[y],
            )?[0],
        )
    };
    let (q, k) = (turned(g, "q_norm.weight", q)?, turned(g, "k_norm.weight", k)?);
    let scale = (dk as f64).powf(-0.5) as f32;
    let a = g.call(
        Attention {
            b,
            t,
            h,
            d: dk,
            scale,
            forget: false,
        },
        &[q, k, v],
    )?[0];
    let a = proj(g, "out_proj", a, d, d)?;
    let weight = g.param("out_norm.weight", &[d], Init::Constant(1.0));
    let a = g.call(
        RmsNorm {
            rows,
            d,
            eps: 1e-8,
            kind: Kind::OuterEps,
        },
        &[a, weight],
    )?[0];
    let y = g.call(
        Dropout {
            rows,
            d,
            p: 0.0,
            tag: 0,
        },
        &[x, a],
    )?[0];
    let f = proj(g, "linear1", y, d, 8 * d)?;
    let m = g.call(SwiGlu { rows, d: 4 * d }, &[f, beta])?[0];
    let m = proj(g, "linear2", m, 4 * d, d)?;
    let dropout = Dropout {
        rows,
        d,
        p: c.config.dropout,
        tag: 2 * c.layer as u32 + 1,
    };
    Ok(g.call(dropout, &[y, m])?[0])
}

//! The paper's Transformer (models.md 3.1): attention with qk-norm and rotary positions, then `SwiGLU`.
//!
//! Its output already contains its input, and the stack adds it once more, as in the reference.

use super::context::one;
use super::switches::refused;
use super::{Block, BlockContext, ModelConfig, Taxonomy};
use crate::error::Result;
use crate::graph::{Graph, Init};
use crate::ops::attention::Attention;
use crate::ops::dropout::Dropout;
use crate::ops::rms_norm::{Kind, RmsNorm};
use crate::ops::rope::Rope;
use crate::ops::swiglu::SwiGlu;
use crate::tensor::TensorId;

/// See the module docs.
#[derive(Debug)]
pub(super) struct Transformer;

impl Block for Transformer {
    fn name(&self) -> &'static str {
        "transformer"
    }

    fn describe(&self) -> &'static str {
        "causal softmax attention with rotary positions and a gated feed-forward"
    }

    fn taxonomy(&self) -> Taxonomy {
        Taxonomy {
            transition: "state grows with t",
            decay: "none",
            write_gate: "none",
            complementary: "-",
            readout: "q, softmax",
            output_gate: "no",
            channel_mixing: "-",
            gate_params: "-",
            paper_gate_params: "-",
        }
    }

    fn gate_params(&self, _config: &ModelConfig) -> usize {
        0
    }

    fn validate(&self, config: &ModelConfig) -> Result<()> {
        let d_k = config.head_dim();
        if d_k.is_multiple_of(2) && d_k <= 256 {
            return Ok(());
        }
        let reason = format!(
            "a head of {d_k} channels: rotary positions need an even number, attention at most 256 (d_model {} with {} \
             heads)",
            config.d_model, config.heads
        );
        Err(refused(self.name(), &reason))
    }

    fn build(&self, g: &mut Graph, x: TensorId, c: &BlockContext<'_>) -> Result<TensorId> {
        let (h, d, rows) = (c.config.heads, c.config.d_model, c.rows());
        let d_k = d / h;
        let beta = g.param("beta", &[1], Init::Constant(1.0));
        let q = c.linear(g, "q_proj", x, [d, d], true)?;
        let k = c.linear(g, "k_proj", x, [d, d], true)?;
        let v = c.linear(g, "v_proj", x, [d, d], true)?;
        let turned = |g: &mut Graph, name: &str, y: TensorId| {
            let y = rms(g, name, y, rows * h, d_k)?;
            let turn = Rope {
                b: c.b,
                t: c.t,
                h,
                d: d_k,
                base: c.config.rope_base,
                direction: -1,
                position: false,
            };
            c.rope(g, turn, y)
        };
        let (q, k) = (turned(g, "q_norm.weight", q)?, turned(g, "k_norm.weight", k)?);
        let attention = Attention {
            b: c.b,
            t: c.t,
            h,
            d: d_k,
            scale: (d_k as f64).powf(-0.5) as f32,
            forget: false,
        };
        let a = c.attention(g, attention, &[q, k, v])?;
        let a = c.linear(g, "out_proj", a, [d, d], true)?;
        let a = rms(g, "out_norm.weight", a, rows, d)?;
        let sum = |p: f32, tag: u32| Dropout { rows, d, p, tag };
        let y = one(g, sum(0.0, 0), &[x, a])?;
        let f = c.linear(g, "linear1", y, [d, 8 * d], true)?;
        let m = one(g, SwiGlu { rows, d: 4 * d }, &[f, beta])?;
        let m = c.linear(g, "linear2", m, [4 * d, d], true)?;
        one(g, sum(c.config.dropout, 2 * c.layer as u32 + 1), &[y, m])
    }
}

/// The norm with eps outside of the root.
fn rms(g: &mut Graph, name: &str, x: TensorId, rows: usize, d: usize) -> Result<TensorId> {
    let weight = g.param(name, &[d], Init::Constant(1.0));
    let norm = RmsNorm {
        rows,
        d,
        eps: 1e-8,
        kind: Kind::OuterEps,
    };
    one(g, norm, &[x, weight])
}

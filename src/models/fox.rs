//! The Forgetting Transformer's mixer (models.md 3.8): softmax attention whose scores fall by a data-dependent log decay a
//! head and token, with neither positions nor norms nor a feed-forward.

use super::{BlockContext, ModelConfig, Taxonomy, linear};
use crate::error::{Result, UserError};
use crate::graph::Graph;
use crate::ops::attention::{Attention, MAX_D};
use crate::ops::log_sigmoid::LogSigmoid;
use crate::tensor::TensorId;

pub(super) const TAXONOMY: Taxonomy = Taxonomy {
    transition: "state grows with t",
    decay: "scalar a head, data-dependent, on the scores",
    write_gate: "none",
    complementary: "no",
    readout: "q, softmax",
    output_gate: "no",
    channel_mixing: "-",
};

/// `f_proj` (decay): d H + H.
pub(super) fn gate_params(d: usize, heads: usize) -> usize {
    d * heads + heads
}

pub(super) fn validate(config: &ModelConfig) -> Result<()> {
    let dk = config.head_dim();
    if dk <= MAX_D {
        return Ok(());
    }
    let (d, h) = (config.d_model, config.heads);
    let reason =
        format!("a head of {dk} channels: attention takes at most {MAX_D} (d_model {d} with {h} heads)");
    Err(UserError::Shape { op: "fox", reason }.into())
}

pub(super) fn build(g: &mut Graph, x: TensorId, c: &BlockContext<'_>) -> Result<TensorId> {
    let (b, t, h, d) = (c.b, c.t, c.config.heads, c.config.d_model);
    let (rows, dk) = (b * t, d / h);
    let proj = |g: &mut Graph, name: &str, x: TensorId| g.scoped(name, |g| linear(g, x, rows, d, d, false));
    let (q, k) = (proj(g, "q_proj", x)?, proj(g, "k_proj", x)?);
    let v = proj(g, "v_proj", x)?;
    let f = g.scoped("f_proj", |g| linear(g, x, rows, d, h, true))?;
    let log_sigmoid = LogSigmoid {
        numel: rows * h,
        scale: 1.0,
    };
    let log_f = g.call(log_sigmoid, &[f])?[0];
    let attention = Attention {
        b,
        t,
        h,
        d: dk,
        scale: (dk as f64).powf(-0.5) as f32,
        forget: true,
    };
    let a = g.call(attention, &[q, k, v, log_f])?[0];
    proj(g, "o_proj", a)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::BlockKind;

    fn config(d_model: usize, heads: usize) -> ModelConfig {
        ModelConfig {
            blocks: vec![BlockKind::Fox; 3],
            d_model,
            heads,
            vocab: 41,
            classes: 1601,
            householder: 4,
            chunk: 64,
            d_state: 64,
            dropout: 0.0,
        }
    }

    #[test]
    fn parameters_follow_the_formula() {
        for (d, h) in [(32, 4), (768, 8), (1296, 16)] {
            let layer = 4 * d * d + d * h + h;
            let want = 3 * (layer + 2 * d) + d * 42 + (d + 1) * 1601;
            assert_eq!(config(d, h).param_count().unwrap(), want, "d {d} H {h}");
            assert_eq!(BlockKind::Fox.gate_params(d, h), d * h + h);
        }
    }

    #[test]
    fn refuses_heads_that_attention_does_not_hold() {
        assert!(config(1024, 4).validate().is_ok());
        let message = config(1032, 4).validate().unwrap_err().to_string();
        let wanted = "fox: a head of 258 channels: attention takes at most 256 (d_model 1032 with 4 heads)";
        assert_eq!(message, wanted);
    }
}

//! What `gla` and `retnet` share (models.md 3.5, 3.8): additive linear attention over convolved projections, with a swish
//! gate after the output norm.

use super::{BlockContext, ModelConfig, conved, linear};
use crate::error::{Result, UserError};
use crate::graph::{Graph, Init};
use crate::ops::linear_attention::{Decay, LinearAttention};
use crate::ops::log_sigmoid::LogSigmoid;
use crate::ops::rms_norm::{Kind, RmsNorm};
use crate::ops::rope::Rope;
use crate::tensor::TensorId;

/// Rank of the projection of GLA's gates.
pub(super) const GATE_RANK: usize = 16;

/// What GLA's log gates are divided by.
const GATE_NORMALISER: f32 = 16.0;

/// Base of `RetNet`'s rotary positions.
const ROPE_BASE: f32 = 10_000.0;

/// Widest key head: values are twice as wide.
const MAX_KEY_WIDTH: usize = 128;

/// Refuses heads that the recurrence cannot have, in the name of a model.
pub(super) fn validate(op: &'static str, config: &ModelConfig) -> Result<()> {
    let dk = config.head_dim();
    if (1..=MAX_KEY_WIDTH).contains(&dk) {
        return Ok(());
    }
    let reason = format!(
        "a head of {dk} channels (and values of {}): at most {MAX_KEY_WIDTH} ({}) are supported",
        2 * dk,
        2 * MAX_KEY_WIDTH
    );
    Err(UserError::Shape { op, reason }.into())
}

/// The block. Decay by channel: from a low-rank projection (GLA); constant: with rotary positions (`RetNet`).
pub(super) fn build(g: &mut Graph, x: TensorId, c: &BlockContext<'_>, decay: Decay) -> Result<TensorId> {
    let (b, t, h, d) = (c.b, c.t, c.config.heads, c.config.d_model);
    let (rows, dk, dv) = (b * t, d / h, 2 * d / h);
    let mut ins = vec![
        conved(g, x, c, 'q', d)?,
        conved(g, x, c, 'k', d)?,
        conved(g, x, c, 'v', 2 * d)?,
    ];
    if decay == Decay::Channel {
        let low = g.scoped("gk_proj.0", |g| linear(g, x, rows, d, GATE_RANK, false))?;
        let gates = g.scoped("gk_proj.1", |g| linear(g, low, rows, GATE_RANK, d, true))?;
        let log = LogSigmoid {
            numel: rows * d,
            scale: 1.0 / GATE_NORMALISER,
        };
        ins.push(g.call(log, &[gates])?[0]);
    } else {
        for y in &mut ins[..2] {
            let turn = Rope {
                b,
                t,
                h,
                d: dk,
                base: ROPE_BASE,
                direction: 1,
                position: false,
            };
            *y = g.call(turn, &[*y])?[0];
        }
    }
    let gate = g.scoped("g_proj", |g| linear(g, x, rows, d, 2 * d, false))?;
    let attention = LinearAttention {
        b,
        t,
        h,
        dk,
        dv,
        scale: (dk as f64).powf(-0.5) as f32,
        decay,
        shared_qk: false,
        chunk: c.config.chunk,
    };
    let o = g.call(attention, &ins)?[0];
    let weight = g.param("g_norm_swish_gate.weight", &[dv], Init::Constant(1.0));
    let norm = RmsNorm {
        rows: rows * h,
        d: dv,
        eps: 1e-5,
        kind: Kind::GateAfter,
    };
    let o = g.call(norm, &[o, gate, weight])?[0];
    g.scoped("o_proj", |g| linear(g, o, rows, 2 * d, d, false))
}

#[cfg(test)]
mod tests {
    use crate::models::{BlockKind, D_STATE, ModelConfig, default_heads};

    fn paper(name: &str, d_model: usize) -> ModelConfig {
        ModelConfig {
            blocks: vec![BlockKind::from_name(name).unwrap(); 8],
            d_model,
            heads: default_heads(d_model),
            vocab: 41,
            classes: 1601,
            householder: 4,
            chunk: 64,
            d_state: D_STATE,
            dropout: 0.2,
        }
    }

    /// Parameters of one layer's block (models.md section 2).
    fn formula(name: &str, d: usize, h: usize, n: usize) -> usize {
        match name {
            "gla" => 8 * d * d + 49 * d + 2 * d / h,
            "retnet" => 8 * d * d + 16 * d + 2 * d / h,
            "mamba2" => 6 * d * d + 2 * d * n + 2 * d * h + 12 * d + 10 * n + 6 * h,
            _ => unreachable!("no formula for {name}"),
        }
    }

    #[test]
    fn parameters_follow_the_formulas() {
        for name in ["gla", "retnet", "mamba2"] {
            for d in [256, 648, 1024] {
                for d_state in [16, D_STATE] {
                    let model = ModelConfig {
                        d_state,
                        ..paper(name, d)
                    };
                    let layer = formula(name, d, model.heads, d_state) + 2 * d;
                    // RetNet's rotary needs an even head width.
                    if name == "retnet" && d == 648 {
                        assert!(model.validate().is_err());
                        continue;
                    }
                    let params = model.param_count().unwrap();
                    assert_eq!(params, 8 * layer + 42 * d + 1601 * (d + 1), "{name} {d}");
                }
            }
        }
    }

    #[test]
    fn parameters_are_those_of_the_paper_s_sizes() {
        for (name, d, millions) in [("gla", 1152, "87.300"), ("mamba2", 1296, "85.895")] {
            let params = paper(name, d).param_count().unwrap();
            assert_eq!(format!("{:.3}", params as f64 / 1e6), millions, "{name} {d}");
        }
    }

    #[test]
    fn sizes_that_a_block_cannot_have_are_refused() {
        let refused = |model: ModelConfig| model.validate().unwrap_err().to_string();
        assert!(
            refused(ModelConfig {
                heads: 1,
                ..paper("gla", 256)
            })
            .contains("a head of 256 channels")
        );
        let state = |d_state| ModelConfig {
            d_state,
            ..paper("mamba2", 256)
        };
        assert!(refused(state(257)).contains("257 states: 1 to 256"));
        assert!(refused(state(0)).contains("0 states"));
        assert!(
            refused(ModelConfig {
                heads: 1,
                ..paper("mamba2", 512)
            })
            .contains("512 channels")
        );
    }
}

//! The Forgetting Transformer's mixer (models.md 3.8): softmax attention whose scores fall by a data-dependent log decay a
//! head and token, with neither positions nor norms nor a feed-forward.

use super::switches::refused;
use super::{Block, BlockContext, Form, Gate, ModelConfig, Taxonomy};
use crate::error::Result;
use crate::graph::Graph;
use crate::ops::attention::{Attention, MAX_D};
use crate::ops::pointwise::Function;
use crate::tensor::TensorId;

/// See the module docs.
#[derive(Debug)]
pub(super) struct Fox;

impl Block for Fox {
    fn name(&self) -> &'static str {
        "fox"
    }

    fn describe(&self) -> &'static str {
        "softmax attention that forgets: scores fall by a log decay a head and token"
    }

    fn taxonomy(&self) -> Taxonomy {
        Taxonomy {
            transition: "state grows with t",
            decay: "head, data-dependent, on the scores",
            write_gate: "none",
            complementary: "-",
            readout: "q, softmax",
            output_gate: "no",
            channel_mixing: "-",
            gate_params: "d H + H",
            paper_gate_params: "-",
        }
    }

    /// `f_proj` (decay): d H + H.
    fn gate_params(&self, config: &ModelConfig) -> usize {
        config.d_model * config.heads + config.heads
    }

    fn validate(&self, config: &ModelConfig) -> Result<()> {
        let d_k = config.head_dim();
        if d_k <= MAX_D {
            return Ok(());
        }
        let (d, h) = (config.d_model, config.heads);
        let reason =
            format!("a head of {d_k} channels: attention takes at most {MAX_D} (d_model {d} with {h} heads)");
        Err(refused(self.name(), &reason))
    }

    fn build(&self, g: &mut Graph, x: TensorId, c: &BlockContext<'_>) -> Result<TensorId> {
        let (h, d) = (c.config.heads, c.config.d_model);
        let d_k = d / h;
        let of_x = c.projections(
            g,
            x,
            d,
            &["q_proj", "k_proj", "v_proj"].map(|name| vec![(name, d)]),
        )?;
        let (q, k, v) = (of_x["q_proj"], of_x["k_proj"], of_x["v_proj"]);
        let f = c.linear(g, "f_proj", x, [d, h], true)?;
        let log_f = c.pointwise(g, Function::LogSigmoid, 1.0, f)?;
        c.show(Gate::Decay, Form::Exp, &[log_f], h);
        let attention = Attention {
            b: c.b,
            t: c.t,
            h,
            d: d_k,
            scale: (d_k as f64).powf(-0.5) as f32,
            forget: true,
        };
        let a = c.attention(g, attention, &[q, k, v, log_f])?;
        c.linear(g, "o_proj", a, [d, d], false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_heads_that_attention_does_not_hold() {
        let config = |d_model| {
            let mut model = ModelConfig::new(&Fox, 3, d_model, 41, 1601);
            model.heads = 4;
            model
        };
        assert!(config(1024).validate().is_ok());
        let message = config(1032).validate().unwrap_err().to_string();
        let wanted = "fox: a head of 258 channels: attention takes at most 256 (d_model 1032 with 4 heads)";
        assert_eq!(message, wanted);
    }
}

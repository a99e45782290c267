//! S4 in its diagonal form, S4D (models.md 3.8): a time-invariant scan, gelu, a gated projection.
//!
//! The reference trains it with a recipe of its own: `AdamW`, and the scan's rates in a group with a smaller learning rate
//! and no weight decay. Here it gets the recipe of all models.

use super::{BlockContext, ModelConfig, Taxonomy};
use crate::error::{Result, UserError};
use crate::graph::{Graph, Init};
use crate::ops::gelu_dropout::GeluDropout;
use crate::ops::glu::Glu;
use crate::ops::linear::Linear;
use crate::ops::s4d_scan::{MAX_STATES, S4dScan};
use crate::tensor::TensorId;

pub(super) const TAXONOMY: Taxonomy = Taxonomy {
    transition: "diag(exp(dt A)), complex",
    decay: "channel and state, fixed",
    write_gate: "dt, a channel, fixed",
    complementary: "yes (dt makes both)",
    readout: "C, fixed",
    output_gate: "sigma, after the projection",
    channel_mixing: "no",
};

/// The half of the output projection that makes the output gate.
pub(super) fn gate_params(d: usize, _heads: usize) -> usize {
    d * d + d
}

pub(super) fn validate(config: &ModelConfig) -> Result<()> {
    let n = config.d_state;
    if n.is_multiple_of(2) && (2..=2 * MAX_STATES).contains(&n) {
        return Ok(());
    }
    let reason = format!("d_state is {n}: an even number, 2 to {}", 2 * MAX_STATES);
    Err(UserError::Shape { op: "s4", reason }.into())
}

pub(super) fn build(g: &mut Graph, x: TensorId, c: &BlockContext<'_>) -> Result<TensorId> {
    let (b, t, d, states) = (c.b, c.t, c.config.d_model, c.config.d_state / 2);
    let rows = b * t;
    let skip = g.param("D", &[d], Init::Normal(1.0));
    let [read, log_dt, log_a, imag] = g.scoped("kernel", |g| {
        [
            g.param("C", &[d, states, 2], Init::Normal(0.5f64.sqrt())),
            g.param("log_dt", &[d], Init::Between(1e-3f64.ln(), 1e-1f64.ln())),
            g.param("log_A_real", &[d, states], Init::Constant(0.5f64.ln())),
            g.param("A_imag", &[d, states], Init::PiIndex(states)),
        ]
    });
    let scan = S4dScan {
        b,
        t,
        channels: d,
        states,
    };
    let y = g.call(scan, &[x, log_dt, read, log_a, imag, skip])?[0];
    let activation = GeluDropout {
        b,
        t,
        d,
        p: c.config.dropout,
        tag: 2 * c.layer as u32 + 1,
    };
    let y = g.call(activation, &[y])?[0];
    let both = g.scoped("output_linear.0", |g| {
        let r = Init::Uniform((d as f64).powf(-0.5));
        let (weight, bias) = (g.param("weight", &[2 * d, d, 1], r), g.param("bias", &[2 * d], r));
        let project = Linear {
            rows,
            inp: d,
            out: 2 * d,
            bias: true,
        };
        Ok::<_, crate::error::Error>(g.call(project, &[y, weight, bias])?[0])
    })?;
    Ok(g.call(Glu { rows, d }, &[both])?[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::BlockKind;

    fn config(d_model: usize, d_state: usize) -> ModelConfig {
        ModelConfig {
            blocks: vec![BlockKind::S4; 8],
            d_model,
            heads: 8,
            vocab: 41,
            classes: 1601,
            householder: 4,
            chunk: 64,
            d_state,
            dropout: 0.0,
        }
    }

    #[test]
    fn parameters_follow_the_formula() {
        for (d, n) in [(32, 16), (64, 2), (768, 128)] {
            let layer = 2 * d * d + 4 * d + 2 * d * n;
            let all = 8 * (layer + 2 * d) + 42 * d + 1601 * (d + 1);
            assert_eq!(config(d, n).param_count().unwrap(), all, "d {d} N {n}");
        }
    }

    #[test]
    fn refuses_odd_and_large_states() {
        assert!(config(64, 256).validate().is_ok());
        for n in [0, 63, 258] {
            let message = config(64, n).validate().unwrap_err().to_string();
            let wanted = format!("d_state is {n}: an even number, 2 to 256");
            assert!(message.contains(&wanted), "{message}");
        }
    }
}

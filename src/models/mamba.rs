//! Mamba (models.md 3.2): a short convolution, then a selective scan whose step, input and read-out come from the data.

use super::{BlockContext, ModelConfig, Taxonomy, linear};
use crate::error::{Result, UserError};
use crate::graph::{Graph, Init};
use crate::ops::linear::Linear;
use crate::ops::selective_scan::{MAX_STATES, SelectiveScan};
use crate::ops::short_conv::ShortConv;
use crate::ops::slice::Slice;
use crate::tensor::TensorId;

pub(super) const TAXONOMY: Taxonomy = Taxonomy {
    transition: "diag(exp(dt A))",
    decay: "channel and state, data-dependent",
    write_gate: "dt, a channel",
    complementary: "yes (dt makes both)",
    readout: "C",
    output_gate: "swish",
    channel_mixing: "no",
};

/// R, the rank of the projection to the steps.
fn step_rank(d: usize) -> usize {
    d.div_ceil(16)
}

/// The columns of `x_proj` that make the step, `dt_proj` with its bias, and the half of `in_proj` that makes the output
/// gate: 4 d R + 2 d + 2 d^2.
pub(super) fn gate_params(d: usize, _heads: usize) -> usize {
    4 * d * step_rank(d) + 2 * d + 2 * d * d
}

pub(super) fn validate(config: &ModelConfig) -> Result<()> {
    if (1..=MAX_STATES).contains(&config.d_state) {
        return Ok(());
    }
    let reason = format!("d_state is {}: 1 to {MAX_STATES}", config.d_state);
    Err(UserError::Shape { op: "mamba", reason }.into())
}

pub(super) fn build(g: &mut Graph, x: TensorId, c: &BlockContext<'_>) -> Result<TensorId> {
    let (b, t, d, n) = (c.b, c.t, c.config.d_model, c.config.d_state);
    let (rows, inner, rank) = (b * t, 2 * d, step_rank(d));
    let a_log = g.param("A_log", &[inner, n], Init::LogIndex(n));
    let skip = g.param("D", &[inner], Init::Constant(1.0));
    let part = |g: &mut Graph, x: TensorId, width: usize, from: usize, len: usize| {
        let slice = Slice {
            rows,
            width,
            from,
            len,
        };
        Ok::<_, crate::error::Error>(g.call(slice, &[x])?[0])
    };
    let both = g.scoped("in_proj", |g| linear(g, x, rows, d, 2 * inner, false))?;
    let u = part(g, both, 2 * inner, 0, inner)?;
    let z = part(g, both, 2 * inner, inner, inner)?;
    let u = g.scoped("conv1d", |g| {
        let weight = g.param("weight", &[inner, 1, 4], Init::Uniform(0.5));
        let bias = g.param("bias", &[inner], Init::Uniform(0.5));
        let conv = ShortConv {
            b,
            t,
            channels: inner,
            bias: true,
        };
        Ok::<_, crate::error::Error>(g.call(conv, &[u, weight, bias])?[0])
    })?;
    let width = rank + 2 * n;
    let all = g.scoped("x_proj", |g| linear(g, u, rows, inner, width, false))?;
    let low = part(g, all, width, 0, rank)?;
    let bm = part(g, all, width, rank, n)?;
    let cm = part(g, all, width, rank + n, n)?;
    let (delta, delta_bias) = g.scoped("dt_proj", |g| {
        let weight = g.param("weight", &[inner, rank], Init::Uniform((rank as f64).powf(-0.5)));
        // The scan adds the bias.
        let project = Linear {
            rows,
            inp: rank,
            out: inner,
            bias: false,
        };
        let delta = g.call(project, &[low, weight])?[0];
        let bias = g.param("bias", &[inner], Init::StepBias);
        Ok::<_, crate::error::Error>((delta, bias))
    })?;
    let scan = SelectiveScan {
        b,
        t,
        channels: inner,
        states: n,
        gated: true,
        tied: true,
        decays: true,
    };
    let y = g.call(scan, &[u, delta, z, bm, cm, a_log, delta_bias, skip])?[0];
    g.scoped("out_proj", |g| linear(g, y, rows, inner, d, false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::BlockKind;

    fn config(d_model: usize, d_state: usize) -> ModelConfig {
        ModelConfig {
            blocks: vec![BlockKind::Mamba; 8],
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
    fn the_papers_sizes_have_its_parameters() {
        for (d, millions) in [(768, 33.212), (1024, 57.390), (1152, 71.936), (1296, 90.259)] {
            let params = config(d, 64).param_count().unwrap() as f64;
            assert!((params / 1e6 - millions).abs() < 0.0005, "{d}: {params}");
        }
    }

    #[test]
    fn refuses_states_that_the_scan_does_not_hold() {
        assert!(config(64, 256).validate().is_ok());
        for n in [0, 257] {
            let message = config(64, n).validate().unwrap_err().to_string();
            assert!(
                message.contains(&format!("d_state is {n}: 1 to 256")),
                "{message}"
            );
        }
    }
}

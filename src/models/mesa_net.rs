//! `MesaNet` (models.md 3.8): an additive memory whose read-out solves a least-squares problem over what it has seen.

use super::{BlockContext, ModelConfig, Taxonomy, conved, linear};
use crate::error::{Result, UserError};
use crate::graph::{Graph, Init};
use crate::ops::l2_norm::L2Norm;
use crate::ops::log_sigmoid::LogSigmoid;
use crate::ops::mesa::Mesa;
use crate::ops::rms_norm::{Kind, RmsNorm};
use crate::ops::sigmoid::Sigmoid;
use crate::ops::softplus::Softplus;
use crate::tensor::TensorId;

/// Widest head.
const MAX_WIDTH: usize = 256;

/// Smallest regulariser; it starts at 1.
const LEAST_LAMBDA: f32 = 0.25;

pub(super) const TAXONOMY: Taxonomy = Taxonomy {
    transition: "alpha",
    decay: "head, data-dependent",
    write_gate: "beta in (0,1), a head",
    complementary: "no (alpha and beta are free)",
    readout: "(sum beta k k^T + lambda)^-1 q",
    output_gate: "no",
    channel_mixing: "at the read-out",
};

/// `a_proj` (decay) and `b_proj` (write), with biases: 2 d H + 2 H.
pub(super) fn gate_params(d: usize, heads: usize) -> usize {
    2 * d * heads + 2 * heads
}

pub(super) fn validate(config: &ModelConfig) -> Result<()> {
    let width = config.head_dim();
    if (1..=MAX_WIDTH).contains(&width) {
        return Ok(());
    }
    let reason = format!("a head of {width} channels: at most {MAX_WIDTH}");
    Err(UserError::Shape {
        op: "mesa_net",
        reason,
    }
    .into())
}

pub(super) fn build(g: &mut Graph, x: TensorId, c: &BlockContext<'_>) -> Result<TensorId> {
    let (b, t, h, d) = (c.b, c.t, c.config.heads, c.config.d_model);
    let (rows, width) = (b * t, d / h);
    let start = ((1.0 - f64::from(LEAST_LAMBDA)).exp_m1()).ln();
    let lambda = g.param("lambda_params", &[d], Init::Constant(start));
    let above = Softplus {
        numel: d,
        offset: LEAST_LAMBDA,
    };
    let lambda = g.call(above, &[lambda])?[0];
    let mut keys = [conved(g, x, c, 'q', d)?, conved(g, x, c, 'k', d)?];
    for y in &mut keys {
        let norm = L2Norm {
            rows: rows * h,
            d: width,
            eps: 1e-6,
        };
        *y = g.call(norm, &[*y])?[0];
    }
    let v = g.scoped("v_proj", |g| linear(g, x, rows, d, d, false))?;
    let decay = g.scoped("a_proj", |g| linear(g, x, rows, d, h, true))?;
    let log = LogSigmoid {
        numel: rows * h,
        scale: 1.0,
    };
    let decay = g.call(log, &[decay])?[0];
    let beta = g.scoped("b_proj", |g| linear(g, x, rows, d, h, true))?;
    let strength = Sigmoid {
        numel: rows * h,
        scale: 1.0,
    };
    let beta = g.call(strength, &[beta])?[0];
    let memory = Mesa {
        b,
        t,
        h,
        d: width,
        chunk: c.config.chunk,
    };
    let [q, k] = keys;
    let o = g.call(memory, &[q, k, v, decay, beta, lambda])?[0];
    let weight = g.param("o_norm.weight", &[width], Init::Constant(1.0));
    let norm = RmsNorm {
        rows: rows * h,
        d: width,
        eps: 1e-5,
        kind: Kind::Plain,
    };
    let o = g.call(norm, &[o, weight])?[0];
    g.scoped("o_proj", |g| linear(g, o, rows, d, d, false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{BlockKind, D_STATE, HOUSEHOLDER, default_heads};

    fn paper(d_model: usize, heads: usize) -> ModelConfig {
        ModelConfig {
            blocks: vec![BlockKind::MesaNet; 8],
            d_model,
            heads,
            vocab: 41,
            classes: 1601,
            householder: HOUSEHOLDER,
            chunk: 64,
            d_state: D_STATE,
            dropout: 0.2,
        }
    }

    #[test]
    fn parameters_follow_the_formula() {
        for d in [256, 648, 1024] {
            let h = default_heads(d);
            let layer = 4 * d * d + 2 * d * h + 2 * h + 9 * d + d / h + 2 * d;
            let params = paper(d, h).param_count().unwrap();
            assert_eq!(params, 8 * layer + 42 * d + 1601 * (d + 1), "{d}");
        }
    }

    #[test]
    fn lambda_starts_at_one() {
        let net = paper(32, 4).net(1, 1, 1, false).unwrap();
        let bank = crate::models::initial_parameters(&net.graph, 1);
        let lambda = net
            .graph
            .params()
            .iter()
            .find(|p| net.graph.tensor(p.tensor).name == "layers.0.lambda_params")
            .unwrap();
        let start = f64::from(bank[lambda.offset]);
        assert!((start.exp().ln_1p() + 0.25 - 1.0).abs() < 1e-6, "{start}");
    }

    #[test]
    fn wide_heads_are_refused() {
        let refused = paper(1024, 2).validate().unwrap_err().to_string();
        assert_eq!(refused, "mesa_net: a head of 512 channels: at most 256");
    }
}

//! Log decay of gates in (0, 1): a scaled log-logistic.
//!
//! Maths      y = scale * ln sigma(x) = -scale * softplus(-x), at most 0; scale 1/16 for GLA
//! Shapes     x, y \[n\]
//! Gradients  dx = dy scale sigma(-x)
//! Numerics   always f32; no overflow for any x, and the digits of the upper tail, where y is near 0
//! Cost       forward 6 n FLOPs, 8 n bytes; backward 5 n FLOPs, 12 n bytes
//! Errors     n 0 or above 2^31 - 1
//! Source     models.md 3.5, 4.10; Yang et al. 2024, "Gated Linear Attention", section 4.4; golden: the model fixtures

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use super::{Cost, OpDef, Pass, Port, Reads, rows};
use crate::error::UserError;

/// `y = scale * ln sigma(x)`.
#[derive(Debug, Clone, PartialEq)]
pub struct LogSigmoid {
    /// Elements.
    pub numel: usize,
    /// Above 0; below 1 it makes the decay milder.
    pub scale: f32,
}

impl OpDef for LogSigmoid {
    const NAME: &'static str = "log_sigmoid";

    fn validate(&self) -> Result<(), UserError> {
        rows::check_sizes(Self::NAME, &[("n", self.numel)])
    }

    fn inputs(&self) -> Vec<Port> {
        vec![Port::new("x", &[self.numel])]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::new("y", &[self.numel])]
    }

    fn backward_reads(&self) -> Reads {
        Reads { ins: &[0], outs: &[] }
    }

    fn cost(&self, pass: Pass) -> Cost {
        let n = self.numel as f64;
        let (flops, bytes) = match pass {
            Pass::Forward => (6.0, 8.0),
            Pass::Backward => (5.0, 12.0),
        };
        Cost {
            flops: flops * n,
            bytes: bytes * n,
        }
    }
}

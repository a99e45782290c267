//! A positive parameter from a free one: softplus above a smallest value.
//!
//! Maths      y = offset + softplus(x) = offset + ln(1 + e^x)
//! Shapes     x, y \[n\]
//! Gradients  dx = dy sigma(x)
//! Numerics   always f32; no overflow for any x, and the digits of the lower tail
//! Cost       forward 6 n FLOPs, 8 n bytes; backward 5 n FLOPs, 12 n bytes
//! Errors     n 0 or above 2^31 - 1
//! Source     models.md 3.8 (lambda of `mesa_net`); golden: the model fixtures

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use super::{Cost, InputGrad, OpDef, Pass, Port, Reads, rows};
use crate::error::UserError;

/// `y = offset + softplus(x)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Softplus {
    /// Elements.
    pub numel: usize,
    /// Lower end of the range.
    pub offset: f32,
}

impl OpDef for Softplus {
    const NAME: &'static str = "softplus";

    fn validate(&self) -> Result<(), UserError> {
        rows::check_sizes(Self::NAME, &[("n", self.numel)])
    }

    fn inputs(&self) -> Vec<Port> {
        vec![Port::new("x", &[self.numel]).grad(InputGrad::Accumulates)]
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

//! Write strength of the delta rule: a scaled logistic.
//!
//! Maths      y = scale * sigma(x), scale 1 (beta in (0,1)) or 2 (beta in (0,2), Gated `DeltaProduct`)
//! Shapes     x, y \[n\]
//! Gradients  dx = dy y (1 - y / scale): from the output alone
//! Numerics   f32 throughout; no overflow for any x
//! Cost       forward 4 n FLOPs, 8 n bytes; backward 4 n FLOPs, 12 n bytes
//! Source     models.md 3.4, 3.6, 3.7; golden: the model fixtures

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use super::{Cost, OpDef, Pass, Port, Reads};

/// `y = scale * sigma(x)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Sigmoid {
    /// Elements.
    pub numel: usize,
    /// Upper end of the range.
    pub scale: f32,
}

impl OpDef for Sigmoid {
    const NAME: &'static str = "sigmoid";

    fn inputs(&self) -> Vec<Port> {
        vec![Port::new("x", &[self.numel])]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::new("y", &[self.numel])]
    }

    fn backward_reads(&self) -> Reads {
        Reads { ins: &[], outs: &[0] }
    }

    fn cost(&self, pass: Pass) -> Cost {
        let n = self.numel as f64;
        match pass {
            Pass::Forward => Cost { flops: 4.0 * n, bytes: 8.0 * n },
            Pass::Backward => Cost { flops: 4.0 * n, bytes: 12.0 * n },
        }
    }
}

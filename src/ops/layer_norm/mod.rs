//! Layer norm with weight and bias: after every mixer's residual.
//!
//! Maths      xh = (x - mean) r, r = (var + eps)^-1/2 with the biased variance; y = xh w + b. All of it from x - first,
//!            the row's first element: the mean of those differences, and the squares of what is left
//! Shapes     x, y \[rows, d\], w, b \[d\]; saved offset = mean - first and r \[rows\]
//! Gradients  q = dy w; dx = r (q - mean q - xh mean(q xh)); dw = sum over rows of dy xh, db of dy, in two stages
//! Numerics   sums in f32. The differences keep all digits of rows whose mean is far larger than their spread. In
//!            range while d max (x - first)^2 < 3.4e38 (|x| < 1.8e17 at d = 2592). For d = 2 xh is +-1 and dx the
//!            difference of nearly equal numbers: its error is 1e-7 of r |q|, not of itself
//! Cost       forward 7 n FLOPs, 8 n bytes; backward 13 n FLOPs, 12 n bytes; n = rows d
//! Errors     rows or d 0, rows d above 2^31 - 1, d above 8192
//! Source     models.md 2, 4.10; golden: `layernorm`

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use super::rows;
use crate::error::UserError;
use crate::port::{OpDef, Pass, Port};

/// `y = (x - mean) / sqrt(var + eps) w + b`. Inputs: x, w, b.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNorm {
    /// Rows: B T.
    pub rows: usize,
    /// Their width.
    pub d: usize,
    /// Added to the variance.
    pub eps: f32,
}

impl OpDef for LayerNorm {
    const NAME: &'static str = "layer_norm";

    fn validate(&self) -> Result<(), UserError> {
        rows::check_rows(Self::NAME, self.rows, self.d)
    }

    fn inputs(&self) -> Vec<Port> {
        vec![
            Port::activation("x", &[self.rows, self.d]).saved(),
            Port::f32("w", &[self.d]).saved(),
            Port::f32("b", &[self.d]),
        ]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![
            Port::activation("y", &[self.rows, self.d]),
            Port::f32("offset", &[self.rows]).fixed().saved(),
            Port::f32("r", &[self.rows]).fixed().saved(),
        ]
    }

    fn flops(&self, pass: Pass) -> f64 {
        let n = (self.rows * self.d) as f64;
        match pass {
            Pass::Forward => 7.0 * n,
            Pass::Backward => 13.0 * n,
        }
    }
}

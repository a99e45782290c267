//! Rows of unit length: q and k of the delta family.
//!
//! Maths      y = x r, r = (sum over the row of x^2 + eps)^-1/2
//! Shapes     x, y \[rows, d\]; saved r \[rows\]; y may be asked for in f32 in every precision, so that what dy has along y, which
//!            may be most of it, cancels before it is rounded to f16
//! Gradients  dx = r (dy - y (y . dy)), from y and r: x need not be kept
//! Numerics   sums in f32. Exact in range while d max x^2 < 3.4e38 (|x| < 3.6e17 at d = 2592) and where squares that
//!            vanish below 1.2e-38 do not matter beside eps; a row of zeros gives y = 0, dx = dy eps^-1/2. dx is the
//!            part of dy across y: where dy is nearly parallel to y (always for d = 1 and x^2 far above eps) its
//!            error is 1e-7 of r |dy|, not of itself
//! Cost       forward 3 n FLOPs, 8 n bytes; backward 5 n FLOPs, 12 n bytes; n = rows d
//! Errors     rows or d 0, rows d above 2^31 - 1, d above 8192
//! Source     models.md 4.2, 4.10; golden: `l2norm`

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
pub(crate) mod gpu;
#[cfg(test)]
mod tests;

use super::rows;
use crate::error::UserError;
use crate::port::{OpDef, Pass, Port};

/// `y = x / sqrt(sum x^2 + eps)`.
#[derive(Debug, Clone, PartialEq)]
pub struct L2Norm {
    /// Rows: B T H.
    pub rows: usize,
    /// Their width.
    pub d: usize,
    /// Added to the sum of squares.
    pub eps: f32,
    /// Whether y is f32 in mixed precision too.
    pub wide: bool,
}

impl OpDef for L2Norm {
    const NAME: &'static str = "l2_norm";

    fn validate(&self) -> Result<(), UserError> {
        rows::check_rows(Self::NAME, self.rows, self.d)
    }

    fn inputs(&self) -> Vec<Port> {
        vec![Port::activation("x", &[self.rows, self.d])]
    }

    fn outputs(&self) -> Vec<Port> {
        let port = if self.wide { Port::f32 } else { Port::activation };
        vec![
            port("y", &[self.rows, self.d]).saved(),
            Port::f32("r", &[self.rows]).fixed().saved(),
        ]
    }

    fn again(&self) -> bool {
        true
    }

    fn flops(&self, pass: Pass) -> f64 {
        let n = (self.rows * self.d) as f64;
        match pass {
            Pass::Forward => 3.0 * n,
            Pass::Backward => 5.0 * n,
        }
    }
}

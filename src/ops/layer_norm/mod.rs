//! Layer norm with weight and bias, of a matrix or of the residual stream after a mixer.
//!
//! Maths      xh = (x - mean) r, r = (var + eps)^-1/2 with the biased variance; y = xh w + b. All of it from x - first,
//!            the row's first element: the mean of those differences, and the squares of what is left. With `sum`
//!            x = residual + dropout(z), as in `dropout`, and is an output
//! Shapes     x (residual, z), y \[rows, d\], w, b \[d\]; saved stats = (mean - first, r) \[rows, 2\]
//! Gradients  q = dy w; dx = r (q - mean q - xh mean(q xh)) = dresidual, dz = mask dx / (1 - p); dw = sum over rows of dy xh,
//!            db of dy, in two stages
//! Numerics   sums in f32. The differences keep all digits of rows whose mean is far larger than their spread. In
//!            range while d max (x - first)^2 < 3.4e38 (|x| < 1.8e17 at d = 2592). For d = 2 xh is +-1 and dx the
//!            difference of nearly equal numbers: its error is 1e-7 of r |q|, not of itself. A sum is rounded to what is stored
//!            before its norm
//! Variants   `int64`, `plain`: as of `dropout`, with `sum`
//! Cost       forward 7 n FLOPs, 8 n bytes (9 n and 16 n with `sum`); backward 13 n FLOPs, 12 n bytes (14 n and 16 n);
//!            n = rows d
//! Errors     rows or d 0, rows d above 2^31 - 1, d above 8192; those of `dropout`
//! Source     models.md 2, 4.10; golden: `layernorm`

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use super::dropout::Dropout;
use super::rows;
use crate::error::UserError;
use crate::port::{OpDef, Pass, Port};

/// `y = (x - mean) / sqrt(var + eps) w + b`. Inputs: x, w, b or, with `sum`, residual, z, w, b.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNorm {
    /// Rows: B T.
    pub rows: usize,
    /// Their width.
    pub d: usize,
    /// Added to the variance.
    pub eps: f32,
    /// `x = residual + dropout(z)`, of the same size.
    pub sum: Option<Dropout>,
}

impl OpDef for LayerNorm {
    const NAME: &'static str = "layer_norm";

    fn validate(&self) -> Result<(), UserError> {
        rows::check_rows(Self::NAME, self.rows, self.d)?;
        let Some(sum) = &self.sum else { return Ok(()) };
        if [sum.rows, sum.d] != [self.rows, self.d] {
            let reason = format!("a sum of {} x {} for {} x {}", sum.rows, sum.d, self.rows, self.d);
            let op = Self::NAME;
            return Err(UserError::Shape { op, reason });
        }
        sum.validate()
    }

    fn inputs(&self) -> Vec<Port> {
        let matrix = |name| Port::activation(name, &[self.rows, self.d]);
        let of_x = match self.sum {
            Some(_) => vec![matrix("residual"), matrix("z")],
            None => vec![matrix("x").saved()],
        };
        let parameters = [Port::f32("w", &[self.d]).saved(), Port::f32("b", &[self.d])];
        of_x.into_iter().chain(parameters).collect()
    }

    fn outputs(&self) -> Vec<Port> {
        let matrix = |name| Port::activation(name, &[self.rows, self.d]);
        let x = self.sum.as_ref().map(|_| matrix("x").fixed().saved());
        let stats = Port::f32("stats", &[self.rows, 2]).fixed().saved();
        [matrix("y")].into_iter().chain(x).chain([stats]).collect()
    }

    fn flops(&self, pass: Pass) -> f64 {
        let n = (self.rows * self.d) as f64;
        let of_sum = self.sum.as_ref().map_or(0.0, |sum| sum.flops(Pass::Forward));
        match pass {
            Pass::Forward => 7.0 * n + of_sum,
            Pass::Backward => 13.0 * n + of_sum / 2.0,
        }
    }
}

//! Some columns of every row of a matrix: one projection's output split into its parts.
//!
//! Maths      `y[r, c] = x[r, from + c]`
//! Shapes     x \[rows, width\], y \[rows, len\]
//! Gradients  dx is dy in those columns and 0 in the others; added to what is there if x has several readers, so that
//!            the parts of one matrix fill one gradient
//! Numerics   copies, exact
//! Cost       no FLOPs; forward 8 rows len bytes, backward 4 rows (len + width) bytes
//! Errors     a size of 0, columns outside the row, more than 2^31 - 1 elements
//! Source     models.md 3.2, 3.3; golden: the model fixtures

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
pub(crate) mod gpu;
#[cfg(test)]
mod tests;

use super::rows;
use crate::error::UserError;
use crate::port::{InputGrad, OpDef, Pass, Port, ports_bytes};
use crate::tensor::Precision;

/// `y = x[.., from..from + len]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// Rows of both matrices.
    pub rows: usize,
    /// Columns of x.
    pub width: usize,
    /// First column taken.
    pub from: usize,
    /// Columns taken.
    pub len: usize,
}

impl OpDef for Slice {
    const NAME: &'static str = "slice";

    fn validate(&self) -> Result<(), UserError> {
        rows::check_sizes(Self::NAME, &[("rows", self.rows), ("width", self.width)])?;
        rows::check_sizes(Self::NAME, &[("len", self.len)])?;
        if self.from > self.width || self.len > self.width - self.from {
            let (from, len, width) = (self.from, self.len, self.width);
            let reason = format!("{len} columns from column {from} on, of rows of {width}");
            return Err(UserError::Shape {
                op: Self::NAME,
                reason,
            });
        }
        Ok(())
    }

    fn inputs(&self) -> Vec<Port> {
        vec![Port::activation("x", &[self.rows, self.width]).grad(InputGrad::Accumulates)]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::activation("y", &[self.rows, self.len])]
    }

    fn flops(&self, _pass: Pass) -> f64 {
        0.0
    }

    fn bytes(&self, pass: Pass, precision: Precision) -> f64 {
        // Forward, the other columns are left alone.
        let left = match pass {
            Pass::Forward => self.width - self.len,
            Pass::Backward => 0,
        };
        ports_bytes(self, pass, precision) - (self.rows * left * precision.activation().bytes()) as f64
    }
}

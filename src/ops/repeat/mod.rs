//! The same row for every token: gates that are learned but do not look at the data.
//!
//! Maths      `y_ij = x_j`
//! Shapes     x \[d\], y \[rows, d\]
//! Gradients  `dx_j = sum_i dy_ij`, in two stages
//! Numerics   f32 throughout
//! Cost       forward no FLOPs, 4 n bytes; backward n FLOPs, 4 n bytes; n = rows d
//! Errors     a size of 0, more than 2^31 - 1 elements

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use super::rows;
use crate::error::UserError;
use crate::port::{OpDef, Pass, Port};

/// `y_ij = x_j`.
#[derive(Debug, Clone, PartialEq)]
pub struct Repeat {
    /// Rows.
    pub rows: usize,
    /// Their width.
    pub d: usize,
}

impl OpDef for Repeat {
    const NAME: &'static str = "repeat";

    fn validate(&self) -> Result<(), UserError> {
        rows::check_sizes(Self::NAME, &[("rows", self.rows), ("d", self.d)])
    }

    fn inputs(&self) -> Vec<Port> {
        vec![Port::f32("x", &[self.d])]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::f32("y", &[self.rows, self.d])]
    }

    fn flops(&self, pass: Pass) -> f64 {
        match pass {
            Pass::Forward => 0.0,
            Pass::Backward => (self.rows * self.d) as f64,
        }
    }
}

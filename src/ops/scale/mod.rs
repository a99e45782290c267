//! A factor for every row: input gates, which scale what a token writes.
//!
//! Maths      `y_i = s x_i` over the P elements of a row
//! Shapes     x, y \[rows, P\], s \[rows\]; a row is a head's value (P = `d_v`, s its write strength) or a key channel
//!            (P = 1, s the complement of its decay)
//! Gradients  dx = s dy, ds = dy . x
//! Numerics   f32 throughout
//! Cost       forward n FLOPs, 8 n bytes; backward 3 n FLOPs, 16 n bytes; n = rows P
//! Errors     a size of 0, P above 8192, more than 2^31 - 1 elements
//! Source     the complementary write of Qin et al. 2024, "HGRN2", section 3; models.md 4.6 has it with s = dt

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use super::rows;
use crate::error::UserError;
use crate::port::{InputGrad, OpDef, Pass, Port};

/// `y = s x`. Inputs: x, s.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    /// Rows.
    pub rows: usize,
    /// P, elements of a row.
    pub p: usize,
}

impl OpDef for Scale {
    const NAME: &'static str = "scale";

    fn validate(&self) -> Result<(), UserError> {
        rows::check_rows(Self::NAME, self.rows, self.p)
    }

    fn inputs(&self) -> Vec<Port> {
        vec![
            Port::activation("x", &[self.rows, self.p])
                .grad(InputGrad::Accumulates)
                .saved(),
            Port::f32("s", &[self.rows]).saved(),
        ]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::activation("y", &[self.rows, self.p])]
    }

    fn flops(&self, pass: Pass) -> f64 {
        let n = (self.rows * self.p) as f64;
        match pass {
            Pass::Forward => n,
            Pass::Backward => 3.0 * n,
        }
    }
}

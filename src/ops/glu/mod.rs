//! Gated linear unit: half of a projection, gated by the other half.
//!
//! Maths      y = a sigma(b), a and b the first and second half of each row
//! Shapes     x \[rows, 2 d\], y \[rows, d\]
//! Gradients  da = dy sigma(b), db = dy a sigma(b) (1 - sigma(b)); sigma recomputed
//! Numerics   f32 throughout; sigma' from the exponential of -|b|, so that it keeps its digits in both tails
//! Cost       forward 5 n FLOPs, 12 n bytes; backward 9 n FLOPs, 20 n bytes; n = rows d
//! Errors     rows or d 0, more than 2^31 - 1 elements in x
//! Source     Dauphin, Fan, Auli, Grangier 2016; models.md 3.8; golden: the model `s4`

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use super::rows;
use crate::error::UserError;
use crate::port::{OpDef, Pass, Port};

/// `y = a sigma(b)`. Input: x.
#[derive(Debug, Clone, PartialEq)]
pub struct Glu {
    /// Rows: B T.
    pub rows: usize,
    /// Width of the output, half of the input's.
    pub d: usize,
}

impl OpDef for Glu {
    const NAME: &'static str = "glu";

    fn validate(&self) -> Result<(), UserError> {
        rows::check_sizes(Self::NAME, &[("halves", 2), ("rows", self.rows), ("d", self.d)])
    }

    fn inputs(&self) -> Vec<Port> {
        vec![Port::activation("x", &[self.rows, 2 * self.d]).saved()]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::activation("y", &[self.rows, self.d])]
    }

    fn flops(&self, pass: Pass) -> f64 {
        let n = (self.rows * self.d) as f64;
        match pass {
            Pass::Forward => 5.0 * n,
            Pass::Backward => 9.0 * n,
        }
    }
}

//! The skip of the state-space heads: the output of the recurrence plus the input times a weight a head.
//!
//! Maths      y = o + D x
//! Shapes     o, x, y \[rows, H, P\], D \[H\]
//! Gradients  do = dy, dx = D dy; dD is the sum over rows of dy . x, in two stages
//! Numerics   f32 throughout
//! Cost       n = rows H P: forward 2 n FLOPs, 12 n bytes; backward 3 n FLOPs, 12 n bytes
//! Errors     a size of 0, more than 2^31 - 1 elements, P above 8192
//! Source     models.md 4.6; golden: `mamba2_ssd`

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use super::rows;
use crate::error::UserError;
use crate::port::{InputGrad, OpDef, Pass, Port};

/// See the module docs. Inputs: o, x, D.
#[derive(Debug, Clone, PartialEq)]
pub struct Skip {
    /// Rows: B T.
    pub rows: usize,
    /// Heads.
    pub h: usize,
    /// Width of a head.
    pub p: usize,
}

impl OpDef for Skip {
    const NAME: &'static str = "skip";

    fn validate(&self) -> Result<(), UserError> {
        rows::check_sizes(Self::NAME, &[("rows", self.rows), ("H", self.h)])?;
        rows::check_rows(Self::NAME, self.rows * self.h, self.p)
    }

    fn inputs(&self) -> Vec<Port> {
        let shape = [self.rows, self.h, self.p];
        vec![
            Port::activation("o", &shape).grad(InputGrad::Passes),
            Port::activation("x", &shape).grad(InputGrad::Accumulates).saved(),
            Port::f32("D", &[self.h]).saved(),
        ]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::activation("y", &[self.rows, self.h, self.p])]
    }

    fn flops(&self, pass: Pass) -> f64 {
        let n = (self.rows * self.h * self.p) as f64;
        match pass {
            Pass::Forward => 2.0 * n,
            Pass::Backward => 3.0 * n,
        }
    }
}

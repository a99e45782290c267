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
use crate::port::{Cost, InputGrad, OpDef, Pass, Port, Reads};

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
            Port::new("o", &shape).grad(InputGrad::Passes),
            Port::new("x", &shape).grad(InputGrad::Accumulates),
            Port::new("D", &[self.h]),
        ]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::new("y", &[self.rows, self.h, self.p])]
    }

    fn backward_reads(&self) -> Reads {
        Reads {
            ins: &[1, 2],
            outs: &[],
        }
    }

    fn cost(&self, pass: Pass) -> Cost {
        let n = (self.rows * self.h * self.p) as f64;
        let flops = match pass {
            Pass::Forward => 2.0,
            Pass::Backward => 3.0,
        };
        Cost {
            flops: flops * n,
            bytes: 12.0 * n,
        }
    }
}

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
use crate::port::{Cost, InputGrad, OpDef, Pass, Port, Reads};

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
            Port::new("x", &[self.rows, self.p]).grad(InputGrad::Accumulates),
            Port::new("s", &[self.rows]),
        ]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::new("y", &[self.rows, self.p])]
    }

    fn backward_reads(&self) -> Reads {
        Reads {
            ins: &[0, 1],
            outs: &[],
        }
    }

    fn cost(&self, pass: Pass) -> Cost {
        let n = (self.rows * self.p) as f64;
        let (flops, bytes) = match pass {
            Pass::Forward => (1.0, 8.0),
            Pass::Backward => (3.0, 16.0),
        };
        Cost {
            flops: flops * n,
            bytes: bytes * n,
        }
    }
}

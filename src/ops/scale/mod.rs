//! A factor for every row: input gates, which scale what a token writes.
//!
//! Maths      `y_i = s x_i` over the P elements of a row
//! Shapes     x, y \[rows, P\], s \[rows\]; a row is a head's value (P = `d_v`, s its write strength) or a key channel
//!            (P = 1, s the complement of its decay)
//! Gradients  dx = s dy, ds = dy . x
//! Numerics   f32 throughout; y is stored as `storage` says
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
use crate::port::{InputGrad, OpDef, Pass, Port, Storage};

/// `y = s x`. Inputs: x, s.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    /// Rows.
    pub rows: usize,
    /// P, elements of a row.
    pub p: usize,
    /// That of y: an activation, or f32 where decays are made of it.
    pub storage: Storage,
}

impl Scale {
    /// Of activations.
    pub fn activations(rows: usize, p: usize) -> Self {
        let storage = Storage::Activation;
        Self { rows, p, storage }
    }

    /// Of what stays f32.
    pub fn f32(rows: usize, p: usize) -> Self {
        let storage = Storage::F32;
        Self { rows, p, storage }
    }
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
        let y = Port::activation("y", &[self.rows, self.p]);
        let storage = self.storage;
        vec![Port { storage, ..y }]
    }

    fn flops(&self, pass: Pass) -> f64 {
        let n = (self.rows * self.p) as f64;
        match pass {
            Pass::Forward => n,
            Pass::Backward => 3.0 * n,
        }
    }
}

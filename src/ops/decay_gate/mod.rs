//! Log decay of the gated delta family, from a projection.
//!
//! Maths      `g = -exp(A_log) softplus(y + dt_bias)`, at most 0
//! Shapes     y, g \[rows, H\], `A_log`, `dt_bias` \[H\]
//! Gradients  `dy = -dg exp(A_log) sigma(y + dt_bias)`; that of `A_log` is the sum over rows of dg g, that of `dt_bias`
//!            of dy, in two stages
//! Numerics   always f32. softplus without overflow and with the digits of its lower tail; no overflow for
//!            `A_log` < 80
//! Cost       forward 8 n FLOPs, 8 n bytes; backward 9 n FLOPs, 16 n bytes; n = rows H
//! Errors     rows or H 0, more than 2^31 - 1 elements, H above 8192
//! Source     models.md 3.6, 4.10; golden: the model fixtures

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use super::rows;
use crate::error::UserError;
use crate::port::{OpDef, Pass, Port};

/// `g = -exp(A_log) softplus(y + dt_bias)`. Inputs: y, `A_log`, `dt_bias`.
#[derive(Debug, Clone, PartialEq)]
pub struct DecayGate {
    /// Rows: B T.
    pub rows: usize,
    /// Heads.
    pub h: usize,
}

impl OpDef for DecayGate {
    const NAME: &'static str = "decay_gate";

    fn validate(&self) -> Result<(), UserError> {
        rows::check_rows(Self::NAME, self.rows, self.h)
    }

    fn inputs(&self) -> Vec<Port> {
        vec![
            Port::activation("y", &[self.rows, self.h]).saved(),
            Port::f32("A_log", &[self.h]).saved(),
            Port::f32("dt_bias", &[self.h]).saved(),
        ]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::f32("g", &[self.rows, self.h]).saved()]
    }

    fn flops(&self, pass: Pass) -> f64 {
        let n = (self.rows * self.h) as f64;
        match pass {
            Pass::Forward => 8.0 * n,
            Pass::Backward => 9.0 * n,
        }
    }
}

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
use crate::port::{Cost, OpDef, Pass, Port, Reads};

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
            Port::new("y", &[self.rows, self.h]),
            Port::new("A_log", &[self.h]),
            Port::new("dt_bias", &[self.h]),
        ]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::new("g", &[self.rows, self.h])]
    }

    fn backward_reads(&self) -> Reads {
        Reads {
            ins: &[0, 1, 2],
            outs: &[0],
        }
    }

    fn cost(&self, pass: Pass) -> Cost {
        let n = (self.rows * self.h) as f64;
        let (flops, bytes) = match pass {
            Pass::Forward => (8.0, 8.0),
            Pass::Backward => (9.0, 16.0),
        };
        Cost {
            flops: flops * n,
            bytes: bytes * n,
        }
    }
}

//! Values of elements spread over the time steps of their windows: a few KB travel to the device, not \[B,T\] labels.
//!
//! Maths      `y_bt` = `v_be` for the element e whose window holds t, or with [`Part::First`] begins at t; elsewhere
//!            `u32::MAX`, which is no symbol and no label
//! Shapes     windows \[B,E,2\] u32: first step and length; v \[B,E\] u32; y \[B,T\] u32
//! Gradients  none
//! Cost       no FLOPs; 12 B E + 4 B T bytes
//! Errors     B, T or E 0. Windows of a sample do not overlap and their first steps ascend; those of length 0 come last
//! Source     tasks.md 3.2

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use super::rows;
use crate::error::UserError;
use crate::port::{OpDef, Pass, Port};

/// Which steps of a window have the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All.
    Whole,
    /// The first.
    First,
}

/// See the module docs.
#[derive(Debug, Clone, PartialEq)]
pub struct Spread {
    /// Samples, B.
    pub b: usize,
    /// Time steps, T.
    pub t: usize,
    /// Elements of a sample, E.
    pub e: usize,
    /// Which steps have the value.
    pub part: Part,
}

impl OpDef for Spread {
    const NAME: &'static str = "spread";

    fn validate(&self) -> Result<(), UserError> {
        rows::check_sizes(Self::NAME, &[("B", self.b), ("T", self.t)])?;
        rows::check_sizes(
            Self::NAME,
            &[("B", self.b), ("E", self.e), ("words of a window", 2)],
        )
    }

    fn inputs(&self) -> Vec<Port> {
        vec![
            Port::index("windows", &[self.b, self.e, 2]),
            Port::index("v", &[self.b, self.e]),
        ]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::index("y", &[self.b, self.t])]
    }

    fn flops(&self, _pass: Pass) -> f64 {
        0.0
    }
}

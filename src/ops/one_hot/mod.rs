//! The model's input rows from symbols: a few KB travel to the device, not \[B,T,V\] floats.
//!
//! Maths      `u_rc` = 1 if `symbol_r` = c, else 0; `NO_SYMBOL` (any value >= V) gives a zero row: gap steps and padding
//! Shapes     symbols \[rows\] u32; u \[rows, V\]
//! Gradients  none
//! Cost       no FLOPs; 4 rows + 4 rows V bytes
//! Source     tasks.md 3.3

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use crate::error::UserError;
use crate::ops::rows;
use crate::port::{Cost, OpDef, Pass, Port};

/// Symbols to one-hot rows.
#[derive(Debug, Clone, PartialEq)]
pub struct OneHot {
    /// B T.
    pub rows: usize,
    /// V.
    pub vocab: usize,
}

impl OpDef for OneHot {
    const NAME: &'static str = "one_hot";

    fn validate(&self) -> Result<(), UserError> {
        rows::check_sizes(Self::NAME, &[("rows", self.rows), ("vocab", self.vocab)])
    }

    fn inputs(&self) -> Vec<Port> {
        vec![Port::index("symbols", &[self.rows])]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::new("u", &[self.rows, self.vocab])]
    }

    fn cost(&self, _pass: Pass) -> Cost {
        Cost {
            flops: 0.0,
            bytes: 4.0 * self.rows as f64 * (1 + self.vocab) as f64,
        }
    }
}

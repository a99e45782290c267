//! The model's input rows from symbols, with noise: a few KB travel to the device, not \[B,T,V\] floats.
//!
//! Maths      `u_rc` = 1 if `symbol_r` = c, else 0; `NO_SYMBOL` (any value >= V) gives a zero row: gap steps and padding.
//!            Then `u_rc` += level `n_rc`, n in [0, 1), on every step that a sample has
//! Shapes     symbols \[rows\] u32; for [`Noise::Philox`] samples \[B,4\] u32: seed, split, idx and steps of each sample;
//!            for [`Noise::Given`] n \[rows, V\]; u \[rows, V\]
//! Gradients  none
//! Cost       no FLOPs; 4 rows + 4 rows V bytes, with given noise 4 rows V more
//! Errors     sizes of 0, rows that are no multiple of T
//! Source     tasks.md 3.3; Philox4x32-10: [`crate::philox::noise`]

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use super::rows;
use crate::error::UserError;
use crate::port::{OpDef, Pass, Port};

/// Where the noise comes from, and its level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Noise {
    /// There is none.
    None,
    /// From the generator, for samples of so many time steps, T.
    Philox {
        /// T.
        t: usize,
        /// Largest value.
        level: f32,
    },
    /// From the host.
    Given {
        /// Largest value.
        level: f32,
    },
}

/// Symbols to one-hot rows.
#[derive(Debug, Clone, PartialEq)]
pub struct OneHot {
    /// B T.
    pub rows: usize,
    /// V.
    pub vocab: usize,
    /// What is added.
    pub noise: Noise,
}

impl OpDef for OneHot {
    const NAME: &'static str = "one_hot";

    fn validate(&self) -> Result<(), UserError> {
        rows::check_sizes(Self::NAME, &[("rows", self.rows), ("V", self.vocab)])?;
        if let Noise::Philox { t, .. } = self.noise {
            rows::check_sizes(Self::NAME, &[("T", t)])?;
            if !self.rows.is_multiple_of(t) {
                return Err(UserError::Shape {
                    op: Self::NAME,
                    reason: format!("{} rows are not whole samples of T = {t}", self.rows),
                });
            }
        }
        Ok(())
    }

    fn inputs(&self) -> Vec<Port> {
        let mut ports = vec![Port::index("symbols", &[self.rows])];
        match self.noise {
            Noise::None => {}
            Noise::Philox { t, .. } => ports.push(Port::index("samples", &[self.rows / t, 4])),
            Noise::Given { .. } => ports.push(Port::activation("n", &[self.rows, self.vocab]).fixed()),
        }
        ports
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::activation("u", &[self.rows, self.vocab])]
    }

    fn flops(&self, _pass: Pass) -> f64 {
        0.0
    }
}

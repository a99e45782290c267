//! Parameters rounded to what products read in mixed precision: once a run, over the whole bank.
//!
//! Maths      y = x, to the nearest of f16
//! Shapes     x, y \[n\]
//! Gradients  none: that of the copy is the parameter's (`Graph::param_grad`)
//! Numerics   what is beyond 65,504 becomes infinite, and what is below 2^-25 zero
//! Cost       no FLOPs; 6 n bytes
//! Source     Micikevicius et al. 2018, "Mixed Precision Training", section 3.1

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use crate::error::UserError;
use crate::ops::rows;
use crate::port::{OpDef, Pass, Port};

/// `y = x` over `numel` elements.
#[derive(Debug, Clone, PartialEq)]
pub struct Cast {
    /// Elements.
    pub numel: usize,
}

impl OpDef for Cast {
    const NAME: &'static str = "cast";

    fn validate(&self) -> Result<(), UserError> {
        // Banks may have more elements than a kernel can index: they are bound in parts.
        match self.numel {
            0 => rows::check_sizes(Self::NAME, &[("numel", 0)]),
            _ => Ok(()),
        }
    }

    fn inputs(&self) -> Vec<Port> {
        vec![Port::f32("x", &[self.numel]).fixed()]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::activation("y", &[self.numel]).fixed()]
    }

    fn flops(&self, _pass: Pass) -> f64 {
        0.0
    }
}

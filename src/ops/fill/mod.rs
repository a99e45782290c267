//! Values that neither the data nor a parameter decides: gates that are always open, decays that are fixed.
//!
//! Maths      Constant: `y_i` = value. Retention: `y_i` = ln(1 - 2^(-5-h)), h = i mod H, the log decays of `RetNet`
//! Shapes     y \[n\]; for Retention \[rows, H\]
//! Gradients  none
//! Numerics   Retention: log1p in the twin, its series in the kernel, exact to rounding
//! Cost       no FLOPs, 4 n bytes
//! Errors     n or H 0, n above 2^31 - 1
//! Source     Sun et al. 2023, "Retentive Network", section 2; models.md 4.5

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use super::rows;
use crate::error::UserError;
use crate::port::{OpDef, Pass, Port};

/// See the module docs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Content {
    /// This value everywhere.
    Constant(f32),
    /// Log decays of so many heads.
    Retention(usize),
}

/// No inputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Fill {
    /// Elements.
    pub numel: usize,
    /// What is in them.
    pub content: Content,
}

impl OpDef for Fill {
    const NAME: &'static str = "fill";

    fn validate(&self) -> Result<(), UserError> {
        let heads = match self.content {
            Content::Constant(_) => 1,
            Content::Retention(heads) => heads,
        };
        rows::check_sizes(Self::NAME, &[("H", heads)])?;
        rows::check_sizes(Self::NAME, &[("n", self.numel)])
    }

    fn inputs(&self) -> Vec<Port> {
        Vec::new()
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::f32("y", &[self.numel])]
    }

    fn flops(&self, _pass: Pass) -> f64 {
        0.0
    }
}

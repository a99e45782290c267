//! Adds one tensor to another in place: the sum of gradients where a tensor has several readers.
//!
//! Maths      y += x
//! Shapes     x, y \[n\]
//! Gradients  none: the op only occurs in backward passes
//! Cost       n FLOPs; 12 n bytes

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;

use crate::error::UserError;
use crate::ops::rows;
use crate::port::{OpDef, Pass, Port, ports_bytes};
use crate::tensor::Precision;

/// `y += x` over `numel` elements.
#[derive(Debug, Clone, PartialEq)]
pub struct Add {
    /// Elements.
    pub numel: usize,
}

impl OpDef for Add {
    const NAME: &'static str = "add";

    fn validate(&self) -> Result<(), UserError> {
        rows::check_sizes(Self::NAME, &[("numel", self.numel)])
    }

    fn inputs(&self) -> Vec<Port> {
        vec![Port::activation("x", &[self.numel]).fixed()]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::activation("y", &[self.numel]).fixed()]
    }

    fn flops(&self, _pass: Pass) -> f64 {
        self.numel as f64
    }

    fn bytes(&self, pass: Pass, precision: Precision) -> f64 {
        // y is read and written.
        ports_bytes(self, pass, precision) + (self.numel * precision.activation().bytes()) as f64
    }
}

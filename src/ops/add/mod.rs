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
use crate::port::{Cost, InputGrad, OpDef, Pass, Port};

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
        vec![Port::new("x", &[self.numel]).grad(InputGrad::None)]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::new("y", &[self.numel])]
    }

    fn cost(&self, _pass: Pass) -> Cost {
        Cost {
            flops: self.numel as f64,
            bytes: 12.0 * self.numel as f64,
        }
    }
}

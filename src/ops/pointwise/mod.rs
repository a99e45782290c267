//! Functions of single elements: write strengths, log decays, complements of decays, positive parameters, and silu by
//! itself.
//!
//! ```text
//! Maths      y = offset + scale f(x), f one of
//!   Sigmoid      1 / (1 + e^-x)        beta of the delta rule; scale 2 for Gated DeltaProduct
//!   LogSigmoid   -softplus(-x)         log decay of GLA, scale 1/16
//!   Silu         x sigma(x)            where a model goes without its short convolution
//!   Complement   1 - e^x, x <= 0       what a log decay x leaves for the input
//!   Softplus     ln(1 + e^x)           lambda of the Mesa layer, above an offset
//! Shapes     x, y [n]
//! Gradients  dx = dy scale f'(x): sigma (1 - sigma); sigma(-x); sigma (1 + x (1 - sigma)); -e^x; sigma
//! Numerics   always f32, and gates stay so in mixed precision: only silu, an activation, is rounded; no overflow for any x that the function takes, and the digits of small results: ln sigma(x) for
//!            large x, 1 - e^x for small ones, ln(1 + e^x) for x far below 0
//! Cost       forward 6 n FLOPs, 8 n bytes; backward 6 n FLOPs, 12 n bytes
//! Errors     n 0 or above 2^31 - 1
//! Source     models.md 3.4 to 3.8, 4.10; Yang et al. 2024, "Gated Linear Attention", section 4.4; golden: the model
//!            fixtures
//! ```

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use super::rows;
use crate::error::UserError;
use crate::port::{InputGrad, OpDef, Pass, Port};

/// f of the module docs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// The logistic.
    Sigmoid,
    /// Its logarithm.
    LogSigmoid,
    /// x times the logistic.
    Silu,
    /// 1 - e^x, for x at most 0.
    Complement,
    /// ln(1 + e^x).
    Softplus,
}

/// `y = offset + scale * f(x)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Pointwise {
    /// Elements.
    pub numel: usize,
    /// f.
    pub function: Function,
    /// Not 0.
    pub scale: f32,
    /// 0 unless the range begins elsewhere.
    pub offset: f32,
}

impl OpDef for Pointwise {
    const NAME: &'static str = "pointwise";

    fn validate(&self) -> Result<(), UserError> {
        rows::check_sizes(Self::NAME, &[("n", self.numel)])
    }

    fn inputs(&self) -> Vec<Port> {
        vec![
            Port::activation("x", &[self.numel])
                .grad(InputGrad::Accumulates)
                .saved(),
        ]
    }

    fn outputs(&self) -> Vec<Port> {
        // What is not an activation is a decay, a write strength or a parameter.
        vec![match self.function {
            Function::Silu => Port::activation("y", &[self.numel]),
            _ => Port::f32("y", &[self.numel]),
        }]
    }

    fn flops(&self, _pass: Pass) -> f64 {
        6.0 * self.numel as f64
    }
}

//! Gelu, then dropout of whole channels: what S4 does between its scan and its output projection.
//!
//! Maths      y = mask gelu(x) / (1 - p), gelu(x) = x Phi(x), Phi(x) = (1 + erf(x / sqrt 2)) / 2: the exact form; without
//!            dropout (`step.dropout_on` 0) y = gelu(x)
//! Shapes     x, y \[B, T, d\]; mask \[B, d\], the same at all steps of a sequence
//! Gradients  dx = mask gelu'(x) dy / (1 - p), gelu'(x) = Phi(x) + x e^(-x^2 / 2) / sqrt(2 pi), the mask drawn again
//! Mask       that of [`dropout`](super::dropout) at the sequence's first row
//! Numerics   Phi to 3e-7, relative in both tails, down to 1e-38
//! Cost       forward 25 n FLOPs, 8 n bytes; backward 28 n FLOPs, 12 n bytes; n = B T d; the generator is not counted
//! Errors     a size of 0, more than 2^31 - 1 elements, p outside \[0, 1)
//! Source     Hendrycks and Gimpel 2016; models.md 3.8; golden: the model `s4`

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use super::dropout::Dropout;
use super::rows;
use crate::error::UserError;
use crate::port::{OpDef, Pass, Port};

/// `y = dropout(gelu(x))`. Input: x.
#[derive(Debug, Clone, PartialEq)]
pub struct GeluDropout {
    /// Sequences.
    pub b: usize,
    /// Their length.
    pub t: usize,
    /// Channels.
    pub d: usize,
    /// Share of (sequence, channel) pairs that are dropped.
    pub p: f32,
    /// Number of this dropout in its model: masks with different tags are independent.
    pub tag: u32,
}

impl GeluDropout {
    /// The dropout whose masks of the rows 0, T, 2 T, .. these are.
    fn dropout(&self) -> Dropout {
        Dropout {
            rows: self.b * self.t,
            d: self.d,
            p: self.p,
            tag: self.tag,
        }
    }
}

impl OpDef for GeluDropout {
    const NAME: &'static str = "gelu_dropout";

    fn validate(&self) -> Result<(), UserError> {
        rows::check_sizes(Self::NAME, &[("b", self.b), ("t", self.t), ("d", self.d)])?;
        self.dropout().validate()
    }

    fn inputs(&self) -> Vec<Port> {
        vec![Port::activation("x", &[self.b, self.t, self.d]).saved()]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::activation("y", &[self.b, self.t, self.d])]
    }

    fn flops(&self, pass: Pass) -> f64 {
        let n = (self.b * self.t * self.d) as f64;
        match pass {
            Pass::Forward => 25.0 * n,
            Pass::Backward => 28.0 * n,
        }
    }
}

//! Gated feed-forward activation with a trainable slope: the transformer's.
//!
//! Maths      y = a sg b, sg = sigma(beta a), a and b the first and second half of each row
//! Shapes     x \[rows, 2 d\], beta \[1\], y \[rows, d\]
//! Gradients  sg' = sg (1 - sg); da = dy b (sg + beta a sg'); db = dy a sg; dbeta = sum over all of dy b a^2 sg', in two
//!            stages; sg recomputed
//! Numerics   f32 throughout; sg' from the exponential of -|beta a|, so that it keeps its digits in both tails
//! Cost       forward 7 n FLOPs, 12 n bytes; backward 20 n FLOPs, 20 n bytes; n = rows d
//! Errors     rows or d 0, more than 2^31 - 1 elements in x
//! Source     models.md 3.1, 4.10; golden: `swiglu_beta`

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use super::rows;
use crate::error::UserError;
use crate::port::{OpDef, Pass, Port};

/// `y = a sigma(beta a) b`. Inputs: x, beta.
#[derive(Debug, Clone, PartialEq)]
pub struct SwiGlu {
    /// Rows: B T.
    pub rows: usize,
    /// Width of the output, half of the input's.
    pub d: usize,
}

impl OpDef for SwiGlu {
    const NAME: &'static str = "swiglu";

    fn validate(&self) -> Result<(), UserError> {
        rows::check_sizes(Self::NAME, &[("halves", 2), ("rows", self.rows), ("d", self.d)])
    }

    fn inputs(&self) -> Vec<Port> {
        vec![
            Port::activation("x", &[self.rows, 2 * self.d]).saved(),
            Port::f32("beta", &[1]).saved(),
        ]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::activation("y", &[self.rows, self.d])]
    }

    fn flops(&self, pass: Pass) -> f64 {
        let n = (self.rows * self.d) as f64;
        match pass {
            Pass::Forward => 7.0 * n,
            Pass::Backward => 20.0 * n,
        }
    }
}

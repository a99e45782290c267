//! The Mesa layer on one token a sequence: two matrices a head are its state, read through the solution of a regularised
//! least-squares problem.
//!
//! ```text
//! Maths, per head (M and N are [D, D], a = exp(g)):
//!   M <- a M + beta k k^T     N <- a N + beta k v^T     o = N^T x, (M + diag(lambda)) x = q
//! Shapes     q, k, v, o [B,H,D]; g (log decay, <= 0), beta [B,H]; lambda [H,D], above 0; states M, N [B,H,D,D]; D from 1
//!            to 256
//! Gradients  none: decoding only
//! Numerics   f32 throughout (the twin solves in f64); x by conjugate gradients, preconditioned with diag(lambda), until
//!            the residual is 2^-26 of q (the twin of f64: 2^-55), or for 4 D + 32 steps. M has few large eigenvalues on
//!            top of diag(lambda): 6 to 20 steps for decays from 1/2 to none. Rounding grows with the condition number,
//!            1 + |M| / min lambda
//! Cost       per head 8 D^2 FLOPs and 2 D^2 + 10 D a step of the solver, 12 assumed; 16 D^2 + 20 D bytes (what the solver
//!            reads again lies in a cache)
//! Errors     D outside 1..=256, a size of 0, more than 2^31 - 1 elements of M. That lambda is above 0 is not checked
//! Source     von Oswald et al. 2025, "MesaNet: Sequence Modeling by Locally Optimal Test-Time Training", sections 2, 3;
//!            models.md 4.14, 7
//! ```

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use super::mesa::Mesa;
use super::rows;
use crate::error::UserError;
use crate::ops::OverTime;
use crate::port::{OpDef, Pass, Port};

/// Largest width of a head.
const MAX_WIDTH: usize = 256;

/// Steps of the solver that the cost assumes.
const ASSUMED_STEPS: f64 = 12.0;

/// See the module docs. Inputs: q, k, v, g, beta, lambda. Outputs: o and the states M and N.
#[derive(Debug, Clone, PartialEq)]
pub struct MesaStep {
    /// Sequences.
    pub b: usize,
    /// Heads.
    pub h: usize,
    /// Width of a head, of keys and of values.
    pub d: usize,
}

impl From<&Mesa> for MesaStep {
    /// A token of the layer over whole sequences.
    fn from(whole: &Mesa) -> Self {
        Self {
            b: whole.b,
            h: whole.h,
            d: whole.d,
        }
    }
}

impl OverTime for Mesa {
    type Step = MesaStep;
}

impl OpDef for MesaStep {
    const NAME: &'static str = "mesa_step";

    fn validate(&self) -> Result<(), UserError> {
        let d = self.d;
        if !(1..=MAX_WIDTH).contains(&d) {
            return Err(UserError::Shape {
                op: Self::NAME,
                reason: format!("head width D {d}: must be from 1 to {MAX_WIDTH}; use more heads"),
            });
        }
        rows::check_sizes(Self::NAME, &[("B", self.b), ("H", self.h), ("D", d), ("D", d)])
    }

    fn inputs(&self) -> Vec<Port> {
        let Self { b, h, d } = *self;
        vec![
            Port::activation("q", &[b, h, d]).fixed(),
            Port::activation("k", &[b, h, d]).fixed(),
            Port::activation("v", &[b, h, d]).fixed(),
            Port::f32("g", &[b, h]).fixed(),
            Port::f32("beta", &[b, h]).fixed(),
            Port::f32("lambda", &[h, d]).fixed(),
        ]
    }

    fn outputs(&self) -> Vec<Port> {
        let Self { b, h, d } = *self;
        vec![
            Port::activation("o", &[b, h, d]),
            Port::state("m", &[b, h, d, d]),
            Port::state("n", &[b, h, d, d]),
        ]
    }

    fn flops(&self, _pass: Pass) -> f64 {
        let (heads, d) = ((self.b * self.h) as f64, self.d as f64);
        heads * (8.0 * d * d + ASSUMED_STEPS * (2.0 * d * d + 10.0 * d))
    }
}

//! Global gradient norm, the clipping factor, and the switch that stops training when a gradient is not finite.
//!
//! Maths      norm = (sum g^2)^1/2; factor = min(1, clip / (norm + 1e-6)), clip = `step.clip`
//! Shapes     g \[n\]; stats \[4\]: norm, factor, halted, 0
//! Gradients  none
//! Numerics   f32, partial sums of a fixed shape: the same bits every time. `halted` becomes 1 when the norm is not
//!            finite and stays 1: `adam` then leaves the parameters as they are, so the step can be run again
//! Cost       2 n FLOPs, 4 n bytes
//! Source     models.md 4.15, 5; golden `adam_clip_schedule`

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;

use crate::error::UserError;
use crate::ops::rows;
use crate::port::{OpDef, Pass, Port};

/// See the module docs. The output is updated in place (`accumulate`): it remembers `halted`.
#[derive(Debug, Clone, PartialEq)]
pub struct GradNorm {
    /// Elements of the gradient bank.
    pub n: usize,
}

impl OpDef for GradNorm {
    const NAME: &'static str = "grad_norm";

    fn validate(&self) -> Result<(), UserError> {
        // Banks may have more elements than a kernel can index: they are bound in parts.
        match self.n {
            0 => rows::check_sizes(Self::NAME, &[("n", 0)]),
            _ => Ok(()),
        }
    }

    fn inputs(&self) -> Vec<Port> {
        vec![Port::f32("g", &[self.n]).fixed()]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::f32("stats", &[4]).fixed()]
    }

    fn flops(&self, _pass: Pass) -> f64 {
        2.0 * self.n as f64
    }
}

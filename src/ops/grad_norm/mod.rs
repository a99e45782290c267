//! Global gradient norm, the clipping factor, and the switch that stops training when a gradient is not finite.
//!
//! Maths      norm = (sum g^2)^1/2 / S; factor = min(1, clip / (norm + 1e-6)) / S, clip = `step.clip`. S is the loss scale,
//!            by which the gradients are too large, where the op is `scaled`; else 1
//! Shapes     g \[n\]; stats \[4\]: norm, factor, halted, skipped; scale \[4\]: S, updates since it last changed, updates
//!            that were skipped, 0
//! Gradients  none
//! Numerics   f32, partial sums of a fixed shape: the same bits every time. `halted` becomes 1 when the norm is not
//!            finite and stays 1: `adam` then leaves the parameters as they are, so the step can be run again. Scaled
//!            gradients that are not finite say that S was too large: `skipped` becomes 1 for this update, which `adam`
//!            leaves out too, S is halved, and training only halts where S is 1 already. After 2,000 updates in a
//!            row that were not skipped S is doubled, up to 2^24. S is a power of two: it changes no digit
//! Cost       2 n FLOPs, 4 n bytes
//! Source     models.md 4.15, 5; golden `adam_clip_schedule`; Micikevicius et al. 2018, "Mixed Precision Training", 3.2

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;

use crate::error::UserError;
use crate::ops::rows;
use crate::port::{OpDef, Pass, Port};
use crate::tensor::LOSS_SCALE;

/// The loss scale of a first update.
pub const FIRST_SCALE: f32 = 65_536.0;
/// Updates in a row that are not skipped before the scale is doubled.
pub(crate) const GROWTH: f32 = 2000.0;
/// The largest scale; the least is 1.
pub(crate) const LARGEST_SCALE: f32 = 16_777_216.0;

/// Places in `stats`: the norm before clipping.
pub const NORM: usize = 0;
/// What gradients are times of before an update.
pub const FACTOR: usize = 1;
/// Not 0 once a norm was not finite.
pub const HALTED: usize = 2;
/// Not 0 if this update is left out.
pub const SKIPPED: usize = 3;

/// See the module docs. The outputs are updated in place (`accumulate`): they remember `halted` and the scale.
#[derive(Debug, Clone, PartialEq)]
pub struct GradNorm {
    /// Elements of the gradient bank.
    pub n: usize,
    /// The gradients are times the loss scale, which is a second output.
    pub scaled: bool,
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
        let mut ports = vec![Port::f32("stats", &[4]).fixed()];
        if self.scaled {
            ports.push(Port::f32("scale", &[LOSS_SCALE]).fixed());
        }
        ports
    }

    fn flops(&self, _pass: Pass) -> f64 {
        2.0 * self.n as f64
    }
}

//! Rotary position encoding: turns the pairs (i, i + D/2) of every head by an angle that grows with time.
//!
//! Maths, for i < D/2 and t from 0, with dir = -1 (transformer) or +1 (`RetNet`):
//!
//! ```text
//!   th = t base^(-2i/D)     y_i = x_i cos th - dir x_{i+D/2} sin th     y_{i+D/2} = x_{i+D/2} cos th + dir x_i sin th
//! ```
//!
//! With a position t counts from it: token by token, a run has T = 1 and the position of its token.
//!
//! Shapes     x, y \[B, T, H, D\]; position \[1\] u32 if there is one
//! Gradients  dx: the same rotation with -dir of dy; nothing is saved, a position is read again
//! Numerics   angles never pass through f32: the twin forms them in f64, the kernel as 32 bits of a turn, in integers,
//!            which drop whole turns exactly; measured at t up to 65,535, the kernel is off by at most 1.1e-7. The
//!            position is not refused: after 2^32 - T angles wrap on a GPU
//! Cost       3 B T H D FLOPs (sines not counted), 8 B T H D bytes, forward and backward
//! Errors     odd D: "D = 7: allowed: even, as channels turn in pairs, 2 to 256"; direction other than -1 and 1; base not
//!            above 1
//! Source     models.md 4.8, 7; golden: `rope`, `rope_fla`

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use crate::error::UserError;
use crate::port::{OpDef, Pass, Port};
use crate::tensor::numel;

/// Largest head width: the kernel's uniform holds this many halves of frequencies.
pub const MAX_D: usize = 256;

/// Rotation of `[b, t, h, d]`. Inputs: x, and position if `position`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Samples.
    pub b: usize,
    /// Time steps.
    pub t: usize,
    /// Heads.
    pub h: usize,
    /// Head width, even.
    pub d: usize,
    /// The lowest frequency is about 1 / base.
    pub base: f32,
    /// Sense of the rotation: -1 or +1.
    pub direction: i32,
    /// Whether the first time step has the position that an input says, not 0.
    pub position: bool,
}

impl Rope {
    fn numel(&self) -> usize {
        numel(&[self.b, self.t, self.h, self.d])
    }

    /// Radians a step of pair `i`.
    fn frequency(&self, i: usize) -> f64 {
        f64::from(self.base).powf(-2.0 * i as f64 / self.d as f64)
    }
}

impl OpDef for Rope {
    const NAME: &'static str = "rope";

    fn validate(&self) -> Result<(), UserError> {
        let refuse = |reason: String| {
            Err(UserError::Shape {
                op: Self::NAME,
                reason,
            })
        };
        if !self.d.is_multiple_of(2) || self.d == 0 || self.d > MAX_D {
            return refuse(format!(
                "D = {}: allowed: even, as channels turn in pairs, 2 to {MAX_D}",
                self.d
            ));
        }
        if self.direction.abs() != 1 {
            return refuse(format!("direction = {}: allowed: -1, 1", self.direction));
        }
        if !(self.base > 1.0 && self.base.is_finite()) {
            return refuse(format!("base = {}: allowed: finite and above 1", self.base));
        }
        if u32::try_from(self.numel()).is_err() {
            return refuse(format!("B T H D = {}: allowed: below 2^32", self.numel()));
        }
        Ok(())
    }

    fn inputs(&self) -> Vec<Port> {
        let mut ports = vec![Port::activation("x", &[self.b, self.t, self.h, self.d])];
        if self.position {
            ports.push(Port::index("position", &[1]).saved());
        }
        ports
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::activation("y", &[self.b, self.t, self.h, self.d])]
    }

    fn flops(&self, _pass: Pass) -> f64 {
        3.0 * self.numel() as f64
    }
}

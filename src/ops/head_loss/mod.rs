//! Decoder, masked cross entropy and accuracy in one: the logits of the whole batch never exist.
//!
//! Maths      z = x W^T + b; loss and accuracy of z as in `cross_entropy` and `window_accuracy`; in training also
//!            dz, dx = dz W, dW += dz^T x, db += sum dz. All of it a few sequences at a time
//! Shapes     x \[B T, d\]; W \[K, d\]; b \[K\]; labels \[B T\]; windows \[B E, 2\]; `window_labels` \[B E\];
//!            predictions \[B E\] u32; stats \[4\]: sum of nll * `step.inv_tokens`, windows right and not empty, windows
//!            not empty, windows right with empty ones; training: dx \[B T, d\], dW, db
//! Gradients  computed on the way forward (dloss = 1, or the loss scale): `Graph::backward` starts from dx
//! Numerics   as in the ops it is made of. In mixed precision logits are f32 and their gradients f16, times the loss scale
//!            (the first of the four values of `scale`, see `grad_norm`)
//! Cost       2 B T d K FLOPs forward, 6 B T d K in training; the logits of one piece are written once and read by
//!            the losses, which write their gradient, and the accuracy
//! Errors     a sequence whose logits exceed the adapter's largest binding is refused when the plan is loaded
//! Source     models.md 2, 4.11, 4.12; golden: the model fixtures

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

#[cfg(feature = "gpu")]
use super::cross_entropy::CrossEntropy;
use super::linear::Linear;
use super::window_accuracy::WindowAccuracy;
use crate::error::UserError;
use crate::ops::rows;
use crate::port::{OpDef, Pass, Port, ports_bytes};
use crate::tensor::{LOSS_SCALE, Precision};

/// Bytes of logits in f32 that exist at a time, unless one sequence needs more.
const PIECE_BYTES: usize = 96 << 20;

/// Places in `stats`: the loss of the batch.
pub const LOSS: usize = 0;
/// Windows right and not empty.
pub const RIGHT: usize = 1;
/// Windows not empty.
pub const FILLED: usize = 2;
/// Windows right.
pub const RIGHT_ALL: usize = 3;

/// See the module docs.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadLoss {
    /// B.
    pub b: usize,
    /// T.
    pub t: usize,
    /// E, windows of a sequence.
    pub e: usize,
    /// d, width of the last layer.
    pub d: usize,
    /// K.
    pub classes: usize,
    /// Compute the gradients too.
    pub train: bool,
    /// Times the loss scale: there is another input, `scale`.
    pub scaled: bool,
}

impl HeadLoss {
    /// Sequences whose logits exist at a time. Pieces begin at multiples of `align` rows where there are several: 256
    /// bytes of `x`, so that every part of it may be bound.
    fn piece(&self, align: usize) -> usize {
        let rows = PIECE_BYTES / 4 / self.row();
        let step = align / gcd(align, self.t);
        (rows / self.t / step * step)
            .clamp(step, self.b.max(step))
            .min(self.b)
    }

    /// Elements of a row of the logits and of their gradient: whole quads, the last of the gradient filled up with zeros.
    fn row(&self) -> usize {
        self.classes.next_multiple_of(4)
    }

    /// First sequence and number of sequences of each piece.
    fn pieces(&self, align: usize) -> Vec<(usize, usize)> {
        let piece = self.piece(align);
        (0..self.b)
            .step_by(piece)
            .map(|first| (first, piece.min(self.b - first)))
            .collect()
    }

    fn linear(&self, sequences: usize) -> Linear {
        Linear {
            rows: sequences * self.t,
            inp: self.d,
            out: self.classes,
            bias: true,
        }
    }

    #[cfg(feature = "gpu")]
    fn cross_entropy(&self, sequences: usize) -> CrossEntropy {
        CrossEntropy {
            rows: sequences * self.t,
            classes: self.classes,
        }
    }

    fn accuracy(&self, sequences: usize) -> WindowAccuracy {
        WindowAccuracy {
            b: sequences,
            t: self.t,
            e: self.e,
            classes: self.classes,
        }
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl OpDef for HeadLoss {
    const NAME: &'static str = "head_loss";

    fn validate(&self) -> Result<(), UserError> {
        let (b, t, d, classes) = (
            ("b", self.b),
            ("t", self.t),
            ("d", self.d),
            ("classes", self.classes),
        );
        rows::check_sizes(Self::NAME, &[b, t, d])?;
        rows::check_sizes(Self::NAME, &[classes, d])?;
        rows::check_sizes(Self::NAME, &[b, ("e", self.e), ("first and length", 2)])?;
        // The logits of one sequence exist at a time at least.
        rows::check_sizes(Self::NAME, &[t, classes])
    }

    fn inputs(&self) -> Vec<Port> {
        let mut ports = vec![
            Port::activation("x", &[self.b * self.t, self.d]).fixed(),
            Port::weight("w", &[self.classes, self.d]).fixed(),
            Port::f32("b", &[self.classes]).fixed(),
            Port::index("labels", &[self.b * self.t]),
            Port::index("windows", &[self.b * self.e, 2]),
            Port::index("window_labels", &[self.b * self.e]),
        ];
        if self.scaled {
            ports.push(Port::f32("scale", &[LOSS_SCALE]).fixed());
        }
        ports
    }

    fn outputs(&self) -> Vec<Port> {
        let mut ports = vec![
            Port::index("predictions", &[self.b * self.e]),
            Port::f32("stats", &[4]).fixed(),
        ];
        if self.train {
            ports.push(Port::activation("grad_x", &[self.b * self.t, self.d]).fixed());
            ports.push(Port::f32("grad_w", &[self.classes, self.d]).fixed());
            ports.push(Port::f32("grad_b", &[self.classes]).fixed());
        }
        ports
    }

    fn flops(&self, _pass: Pass) -> f64 {
        let products = if self.train { 6.0 } else { 2.0 };
        let (rows, d, k) = ((self.b * self.t) as f64, self.d as f64, self.classes as f64);
        rows * k * (products * d + 10.0)
    }

    fn bytes(&self, pass: Pass, precision: Precision) -> f64 {
        // The logits of a few sequences at a time: written by a product, read four times.
        let logits = 4.0 * (self.b * self.t * self.classes) as f64;
        ports_bytes(self, pass, precision) + 5.0 * logits
    }
}

//! Decoder, masked cross entropy and accuracy in one: the logits of the whole batch never exist.
//!
//! Maths      z = x W^T + b; loss and accuracy of z as in `cross_entropy` and `window_accuracy`; in training also
//!            dz, dx = dz W, dW += dz^T x, db += sum dz. All of it a few sequences at a time
//! Shapes     x \[B T, d\]; W \[K, d\]; b \[K\]; labels \[B T\]; windows \[B E, 2\]; `window_labels` \[B E\];
//!            predictions \[B E\] u32; stats \[4\]: sum of nll * `step.inv_tokens`, windows right and not empty, windows
//!            not empty, windows right with empty ones; training: dx \[B T, d\], dW, db
//! Gradients  computed on the way forward (dloss = 1): `Graph::backward` starts from dx
//! Numerics   as in the ops it is made of
//! Cost       2 B T d K FLOPs forward, 6 B T d K in training; the logits of one piece are written and read 3 times
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
use crate::port::{Cost, InputGrad, OpDef, Pass, Port};

/// Bytes of logits in f32 that exist at a time, unless one sequence needs more.
const PIECE_BYTES: usize = 96 << 20;

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
}

impl HeadLoss {
    /// Sequences whose logits exist at a time. Pieces begin at multiples of 64 rows where there are several, so that
    /// every part of `x` may be bound.
    fn piece(&self) -> usize {
        let rows = PIECE_BYTES / 4 / self.classes;
        let step = 64 / gcd(64, self.t);
        (rows / self.t / step * step)
            .clamp(step, self.b.max(step))
            .min(self.b)
    }

    /// First sequence and number of sequences of each piece.
    fn pieces(&self) -> Vec<(usize, usize)> {
        let piece = self.piece();
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
        vec![
            Port::new("x", &[self.b * self.t, self.d]).grad(InputGrad::None),
            Port::new("w", &[self.classes, self.d]).grad(InputGrad::None),
            Port::new("b", &[self.classes]).grad(InputGrad::None),
            Port::index("labels", &[self.b * self.t]),
            Port::index("windows", &[self.b * self.e, 2]),
            Port::index("window_labels", &[self.b * self.e]),
        ]
    }

    fn outputs(&self) -> Vec<Port> {
        let mut ports = vec![
            Port::index("predictions", &[self.b * self.e]),
            Port::new("stats", &[4]),
        ];
        if self.train {
            ports.push(Port::new("grad_x", &[self.b * self.t, self.d]));
            ports.push(Port::new("grad_w", &[self.classes, self.d]));
            ports.push(Port::new("grad_b", &[self.classes]));
        }
        ports
    }

    fn cost(&self, _pass: Pass) -> Cost {
        let products = if self.train { 6.0 } else { 2.0 };
        let (rows, d, k) = ((self.b * self.t) as f64, self.d as f64, self.classes as f64);
        Cost {
            flops: rows * k * (products * d + 10.0),
            bytes: 4.0 * (rows * (2.0 * d + 5.0 * k) + 2.0 * k * d),
        }
    }
}

//! Sequence accuracy: one answer for each element of a sequence, from all steps that show it.
//!
//! Maths      prediction of a window = `argmax_c` sum_{t in window} `exp(z_tc` - `lse_t`), ties to the lowest class
//! Shapes     z (logits) \[B T, K\]; lse \[B T\]; windows \[B E, 2\] u32: first step in the sequence, length (0: padding),
//!            cut off where the sequence ends;
//!            `window_labels` \[B E\] u32; predictions \[B E\] u32 (0 for empty windows);
//!            counts \[4\]: windows right and not empty, windows not empty, windows right with empty ones counted as
//!            right where their label is 0, B E
//! Gradients  none
//! Numerics   the softmax before the sum matters: summing logits gives other answers
//! Cost       2 K FLOPs a step; one pass over the logits
//! Source     models.md 4.12; golden `seq_accuracy`

pub mod cases;
pub(crate) mod cpu;
#[cfg(feature = "gpu")]
pub(crate) mod gpu;
#[cfg(test)]
mod tests;

use crate::error::UserError;
use crate::ops::rows;
use crate::port::{OpDef, Pass, Port};

/// See the module docs.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowAccuracy {
    /// B.
    pub b: usize,
    /// T.
    pub t: usize,
    /// E, windows of a sequence.
    pub e: usize,
    /// K.
    pub classes: usize,
}

impl OpDef for WindowAccuracy {
    const NAME: &'static str = "window_accuracy";

    fn validate(&self) -> Result<(), UserError> {
        let (b, e) = (("b", self.b), ("e", self.e));
        rows::check_sizes(Self::NAME, &[b, ("t", self.t), ("classes", self.classes)])?;
        rows::check_sizes(Self::NAME, &[b, e, ("first and length", 2)])
    }

    fn inputs(&self) -> Vec<Port> {
        vec![
            Port::activation("logits", &[self.b * self.t, self.classes]).fixed(),
            Port::f32("lse", &[self.b * self.t]).fixed(),
            Port::index("windows", &[self.b * self.e, 2]),
            Port::index("window_labels", &[self.b * self.e]),
        ]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![
            Port::index("predictions", &[self.b * self.e]),
            Port::f32("counts", &[4]).fixed(),
        ]
    }

    fn flops(&self, _pass: Pass) -> f64 {
        2.0 * (self.b * self.t * self.classes) as f64
    }
}

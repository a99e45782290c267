//! `short_conv` on one token a sequence: the last three inputs of every channel are its state.
//!
//! Maths      `pre = w_0 s_0 + w_1 s_1 + w_2 s_2 + w_3 x (+ b)`, y = silu(pre), then `s = (s_1, s_2, x)`
//! Shapes     x, y \[B, channels\], w \[channels, 1, 4\], b \[channels\] if there is one; state s \[B, channels, 3\], the
//!            oldest input first
//! Gradients  none: decoding only
//! Numerics   f32 throughout; no overflow while pre is finite
//! Cost       12 n FLOPs (bias: 13 n), 32 n + 16 channels bytes; n = B channels
//! Errors     a size of 0, more than 2^31 - 1 elements of the state
//! Source     models.md 4.9, 7; token by token the same as `short_conv`

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use super::rows;
use super::short_conv::ShortConv;
use crate::error::UserError;
use crate::ops::OverTime;
use crate::port::{OpDef, Pass, Port};

/// Taps of the filter.
const WIDTH: usize = 4;
/// Inputs that a channel remembers.
const PAST: usize = WIDTH - 1;

/// One token of `y = silu(causal_conv(x, w) + b)`. Inputs: x, w, b if `bias`; outputs: y and the state.
#[derive(Debug, Clone, PartialEq)]
pub struct ConvStep {
    /// Sequences.
    pub b: usize,
    /// Channels, each with its own filter.
    pub channels: usize,
    /// Whether there is a bias.
    pub bias: bool,
}

impl From<&ShortConv> for ConvStep {
    /// A token of the convolution over whole sequences.
    fn from(whole: &ShortConv) -> Self {
        Self {
            b: whole.b,
            channels: whole.channels,
            bias: whole.bias,
        }
    }
}

impl OverTime for ShortConv {
    type Step = ConvStep;
}

impl OpDef for ConvStep {
    const NAME: &'static str = "conv_step";

    fn validate(&self) -> Result<(), UserError> {
        let sizes = [("b", self.b), ("channels", self.channels), ("inputs", PAST)];
        rows::check_sizes(Self::NAME, &sizes)
    }

    fn inputs(&self) -> Vec<Port> {
        let mut ports = vec![
            Port::activation("x", &[self.b, self.channels]).fixed(),
            Port::f32("w", &[self.channels, 1, WIDTH]).fixed(),
        ];
        if self.bias {
            ports.push(Port::f32("b", &[self.channels]).fixed());
        }
        ports
    }

    fn outputs(&self) -> Vec<Port> {
        vec![
            Port::activation("y", &[self.b, self.channels]),
            Port::state("state", &[self.b, self.channels, PAST]),
        ]
    }

    fn flops(&self, _pass: Pass) -> f64 {
        let n = (self.b * self.channels) as f64;
        let bias = if self.bias { n } else { 0.0 };
        12.0 * n + bias
    }
}

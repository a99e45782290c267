//! Causal depthwise convolution of width 4, then silu: before q, k, v and the scans.
//!
//! Maths      `pre_t = sum_j w_j x_{t-3+j} (+ b)` over j = 0..3, zeros before the start; y = silu(pre)
//! Shapes     x, y \[B, T, channels\], w \[channels, 1, 4\], b \[channels\] if there is one
//! Gradients  dpre = dy silu'(pre), pre recomputed; `dx_t = sum_j w_j dpre_{t+3-j}`; over all b, t in two stages
//!            `dw_j = sum dpre_t x_{t-3+j}`, `db = sum dpre_t`
//! Numerics   f32 throughout; no overflow while pre is finite
//! Cost       forward 12 n FLOPs (bias: 13 n), 8 n bytes; backward 34 n FLOPs, 12 n bytes; n = B T channels
//! Errors     a size of 0, more than 2^31 - 1 elements
//! Source     models.md 4.9; golden: `short_conv_silu`, `short_conv_silu_bias`

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use super::rows;
use crate::error::UserError;
use crate::port::{OpDef, Pass, Port};

/// Taps of the filter.
const WIDTH: usize = 4;

/// `y = silu(causal_conv(x, w) + b)`. Inputs: x, w, b if `bias`.
#[derive(Debug, Clone, PartialEq)]
pub struct ShortConv {
    /// Sequences.
    pub b: usize,
    /// Their length.
    pub t: usize,
    /// Channels, each with its own filter.
    pub channels: usize,
    /// Whether there is a bias.
    pub bias: bool,
}

impl OpDef for ShortConv {
    const NAME: &'static str = "short_conv";

    fn validate(&self) -> Result<(), UserError> {
        let sizes = [("b", self.b), ("t", self.t), ("channels", self.channels)];
        rows::check_sizes(Self::NAME, &sizes)
    }

    fn inputs(&self) -> Vec<Port> {
        let mut ports = vec![
            Port::activation("x", &[self.b, self.t, self.channels]).saved(),
            Port::f32("w", &[self.channels, 1, WIDTH]).saved(),
        ];
        if self.bias {
            ports.push(Port::f32("b", &[self.channels]).saved());
        }
        ports
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::activation("y", &[self.b, self.t, self.channels])]
    }

    fn again(&self) -> bool {
        true
    }

    fn flops(&self, pass: Pass) -> f64 {
        let n = (self.b * self.t * self.channels) as f64;
        let bias = if self.bias { n } else { 0.0 };
        match pass {
            Pass::Forward => 12.0 * n + bias,
            Pass::Backward => 34.0 * n + 2.0 * bias,
        }
    }
}

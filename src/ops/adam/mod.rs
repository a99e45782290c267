//! Adam over the whole parameter bank, with the clipped gradient.
//!
//! Maths      g = factor `g_raw`; m = 0.9 m + 0.1 g; v = 0.999 v + 0.001 g^2;
//!            p -= lr / (1 - 0.9^k) m / (v^1/2 / (1 - 0.999^k)^1/2 + 1e-8), k = 1, 2, ..
//! Shapes     g \[n\]; stats \[4\] of `grad_norm`; p, m, v \[n\], updated in place (`accumulate`)
//! Gradients  none
//! Numerics   master weights and moments in f32; while `halted` or `skipped` is set nothing changes; padding between parameters
//!            has gradient 0 and stays 0. 1 - beta and the bias corrections are rounded from f64: 1 - 0.999 in f32 is
//!            off by 1.3e-5
//! Cost       12 n FLOPs, 28 n bytes
//! Source     models.md 4.15, 5; golden `adam_clip_schedule`

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use crate::error::UserError;
use crate::ops::rows;
use crate::port::{OpDef, Pass, Port, ports_bytes};
use crate::tensor::Precision;

/// Decay of the first moment.
pub const BETA1: f64 = 0.9;
/// Decay of the second moment.
pub const BETA2: f64 = 0.999;
/// Added to the root of the second moment.
pub const EPS: f64 = 1e-8;

/// See the module docs.
#[derive(Debug, Clone, PartialEq)]
pub struct Adam {
    /// Elements of a bank.
    pub n: usize,
}

impl OpDef for Adam {
    const NAME: &'static str = "adam";

    fn validate(&self) -> Result<(), UserError> {
        // Banks may have more elements than a kernel can index: they are bound in parts.
        match self.n {
            0 => rows::check_sizes(Self::NAME, &[("n", 0)]),
            _ => Ok(()),
        }
    }

    fn inputs(&self) -> Vec<Port> {
        vec![
            Port::f32("g", &[self.n]).fixed(),
            Port::f32("stats", &[4]).fixed(),
        ]
    }

    fn outputs(&self) -> Vec<Port> {
        ["p", "m", "v"]
            .into_iter()
            .map(|name| Port::f32(name, &[self.n]).fixed())
            .collect()
    }

    fn flops(&self, _pass: Pass) -> f64 {
        12.0 * self.n as f64
    }

    fn bytes(&self, pass: Pass, precision: Precision) -> f64 {
        // The parameters and their moments are read and written.
        ports_bytes(self, pass, precision) + 12.0 * self.n as f64
    }
}

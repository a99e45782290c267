//! Root-mean-square norm of rows, with and without a gate.
//!
//! Maths      y = m s w, by kind: plain m = x, s = (mean m^2 + eps)^-1/2; outer eps m = x,
//!            s = 1 / (sqrt(mean m^2) + eps); gate after: plain, times silu(g); sigmoid after: plain, times sigma(g);
//!            gate before: plain with m = x silu(g)
//! Shapes     x, g, y \[rows, d\], w \[d\]; saved s \[rows\] (outer eps: the root)
//! Gradients  t = dy w (gate after: dy w silu(g); sigmoid after: the same with sigma); dm = s (t - m s mean(t m s)), outer eps
//!            dm = s t - m s mean(t m s) / root with 0 for a root of 0; gate after dg = dy m s w silu'(g); gate before
//!            dx = dm silu(g), dg = dm x silu'(g); dw = sum over rows of dy m s (gate after: times
//!            silu(g)), in two stages
//! Numerics   sums in f32. In range while d max m^2 < 3.4e38 (|m| < 3.6e17 at d = 2592); squares below 1.2e-38 vanish,
//!            which beside any eps used here changes nothing. Where dy w is nearly parallel to m (always for d = 1
//!            and m^2 far above eps) the error of dm is 1e-7 of s |dy w|, not of itself
//! Cost       forward 4 n FLOPs (gated 9 n), 8 n (12 n) bytes; backward 9 n (20 n) FLOPs, 12 n (20 n) bytes;
//!            n = rows d
//! Errors     rows or d 0, rows d above 2^31 - 1, d above 8192
//! Source     models.md 4.10; golden: `rmsnorm`, `rmsnorm_outer_eps`, `rmsnorm_gate_after`, `rmsnorm_gate_before`,
//!            `rmsnorm_sigmoid_gate`

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use super::rows;
use crate::error::UserError;
use crate::port::{OpDef, Pass, Port};

/// Where eps and the gate are. The numbers are those of `KIND` in the kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// eps inside the root, no gate.
    Plain = 0,
    /// eps added to the root, no gate (the transformer).
    OuterEps = 1,
    /// `rms(x) w silu(g)` (flash-linear-attention).
    GateAfter = 2,
    /// `rms(x silu(g)) w` (Mamba2).
    GateBefore = 3,
    /// `rms(x) w sigma(g)` (KDA).
    SigmoidAfter = 4,
}

impl Kind {
    /// Whether a gate multiplies the normalised row.
    fn is_after(self) -> bool {
        matches!(self, Self::GateAfter | Self::SigmoidAfter)
    }

    /// Whether there is a port `g`.
    pub fn gated(self) -> bool {
        !matches!(self, Self::Plain | Self::OuterEps)
    }
}

/// See the module docs. Inputs: x, g if gated, w.
#[derive(Debug, Clone, PartialEq)]
pub struct RmsNorm {
    /// Rows: B T, or B T H for norms of heads.
    pub rows: usize,
    /// Their width.
    pub d: usize,
    /// Keeps rows near zero finite.
    pub eps: f32,
    /// Where eps and the gate are.
    pub kind: Kind,
}

impl OpDef for RmsNorm {
    const NAME: &'static str = "rms_norm";

    fn validate(&self) -> Result<(), UserError> {
        rows::check_rows(Self::NAME, self.rows, self.d)
    }

    fn inputs(&self) -> Vec<Port> {
        let mut ports = vec![Port::activation("x", &[self.rows, self.d]).saved()];
        if self.kind.gated() {
            ports.push(Port::activation("g", &[self.rows, self.d]).saved());
        }
        ports.push(Port::f32("w", &[self.d]).saved());
        ports
    }

    fn outputs(&self) -> Vec<Port> {
        vec![
            Port::activation("y", &[self.rows, self.d]),
            Port::f32("s", &[self.rows]).fixed().saved(),
        ]
    }

    fn again(&self) -> bool {
        true
    }

    fn flops(&self, pass: Pass) -> f64 {
        let n = (self.rows * self.d) as f64;
        match (pass, self.kind.gated()) {
            (Pass::Forward, false) => 4.0 * n,
            (Pass::Forward, true) | (Pass::Backward, false) => 9.0 * n,
            (Pass::Backward, true) => 20.0 * n,
        }
    }
}

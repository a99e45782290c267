//! Step size, log decay and scaled input of a state-space head (Mamba2), from a projection.
//!
//! Maths      `dt = softplus(dt_raw + dt_bias)`, `g = -exp(A_log) dt`, v = dt x
//! Shapes     x, v \[rows, H, P\], `dt_raw`, g \[rows, H\], `dt_bias`, `A_log` \[H\]
//! Gradients  `dx = dt dv`; `ddt = dv . x - exp(A_log) dg`, `ddt_raw = ddt sigma(dt_raw + dt_bias)`; those of `dt_bias`
//!            and `A_log` are sums over rows of `grad_dt_raw` and of dg g, in two stages; dt and g are computed again
//! Numerics   always f32; softplus without overflow and with the digits of its lower tail
//! Cost       n = rows H: forward (P + 8) n FLOPs, (8 P + 8) n bytes; backward (3 P + 16) n FLOPs, (12 P + 12) n bytes
//! Errors     a size of 0, more than 2^31 - 1 elements, P above 8192
//! Source     models.md 4.6; Dao, Gu 2024, "Transformers are SSMs", section 7; golden: `mamba2_ssd`

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use super::rows;
use crate::error::UserError;
use crate::port::{InputGrad, OpDef, Pass, Port};

/// See the module docs. Inputs: x, `dt_raw`, `dt_bias`, `A_log`; outputs g, v.
#[derive(Debug, Clone, PartialEq)]
pub struct SsmGate {
    /// Rows: B T.
    pub rows: usize,
    /// Heads.
    pub h: usize,
    /// Width of a head.
    pub p: usize,
}

impl OpDef for SsmGate {
    const NAME: &'static str = "ssm_gate";

    fn validate(&self) -> Result<(), UserError> {
        rows::check_sizes(Self::NAME, &[("rows", self.rows), ("H", self.h)])?;
        rows::check_rows(Self::NAME, self.rows * self.h, self.p)
    }

    fn inputs(&self) -> Vec<Port> {
        vec![
            Port::activation("x", &[self.rows, self.h, self.p])
                .grad(InputGrad::Accumulates)
                .saved(),
            Port::activation("dt_raw", &[self.rows, self.h]).saved(),
            Port::f32("dt_bias", &[self.h]).saved(),
            Port::f32("A_log", &[self.h]).saved(),
        ]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![
            Port::f32("g", &[self.rows, self.h]),
            Port::activation("v", &[self.rows, self.h, self.p]),
        ]
    }

    fn flops(&self, pass: Pass) -> f64 {
        let (n, p) = ((self.rows * self.h) as f64, self.p as f64);
        match pass {
            Pass::Forward => (p + 8.0) * n,
            Pass::Backward => (3.0 * p + 16.0) * n,
        }
    }
}

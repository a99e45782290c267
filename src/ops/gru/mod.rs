//! The recurrence of a gated recurrent unit, from the input's share of the gates' arguments on.
//!
//! Maths      s = U `h_{t-1}` + b, r = sigma(`x_r` + `s_r`), z = sigma(`x_z` + `s_z`), m = tanh(`x_m` + r `s_m`),
//!            `h_t` = (1 - z) m + z `h_{t-1}`, `h_0` = 0; x is a row of `xg`, whose thirds are r, z, m
//! Shapes     xg \[B, T, 3 d\], U \[3 d, d\], b \[3 d\], h \[B, T, d\]. Nothing is saved
//! Gradients  s of all steps again, in one product. From the last step back: dh = dy + z dh' + U^T ds' (primes: of the step
//!            after), dxm = dh (1 - z) (1 - m^2), dxz = dh (`h_{t-1}` - m) z (1 - z), dxr = dxm `s_m` r (1 - r),
//!            ds = (dxr, dxz, r dxm); dU = sum ds `h_{t-1}`^T in one product, db = sum ds
//! Numerics   f32 throughout; 1 - z and 1 - m^2 by exponentials of their own
//! Cost       a token: 6 d^2 + 12 d FLOPs forward, 18 d^2 + 40 d backward; 16 d bytes forward, 36 d backward, and U once
//!            a step. A launch a step
//! Errors     a size of 0, more than 2^31 - 1 elements
//! Source     Cho et al. 2014, in the form of cuDNN (b inside r's product); models.md 3.8; golden: the model `gru`

pub mod cases;
pub(crate) mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use super::linear::Linear;
use super::rows;
use crate::error::UserError;
use crate::port::{OpDef, Pass, Port, ports_bytes};
use crate::tensor::Precision;

/// Inputs: xg, `weight_hh`, `bias_hh`. Output: h.
#[derive(Debug, Clone, PartialEq)]
pub struct Gru {
    /// Sequences.
    pub b: usize,
    /// Their length.
    pub t: usize,
    /// Channels.
    pub d: usize,
}

impl Gru {
    /// s of `rows` rows of h.
    fn product(&self, rows: usize) -> Linear {
        Linear {
            rows,
            inp: self.d,
            out: 3 * self.d,
            bias: true,
        }
    }
}

impl OpDef for Gru {
    const NAME: &'static str = "gru";

    fn validate(&self) -> Result<(), UserError> {
        let (steps, d) = (("t + 1", self.t + 1), ("d", self.d));
        rows::check_sizes(Self::NAME, &[("t", self.t)])?;
        rows::check_sizes(Self::NAME, &[("gates", 3), ("b", self.b), steps, d])?;
        rows::check_sizes(Self::NAME, &[("gates", 3), d, d])
    }

    fn inputs(&self) -> Vec<Port> {
        let d = self.d;
        vec![
            Port::activation("xg", &[self.b, self.t, 3 * d]).saved(),
            Port::f32("weight_hh", &[3 * d, d]).saved(),
            Port::f32("bias_hh", &[3 * d]).saved(),
        ]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::activation("h", &[self.b, self.t, self.d]).saved()]
    }

    fn flops(&self, pass: Pass) -> f64 {
        let (tokens, d) = ((self.b * self.t) as f64, self.d as f64);
        match pass {
            Pass::Forward => tokens * d * (6.0 * d + 12.0),
            Pass::Backward => tokens * d * (18.0 * d + 40.0),
        }
    }

    fn bytes(&self, pass: Pass, precision: Precision) -> f64 {
        // The weights are read in every step.
        let weights = 4.0 * (3 * self.d * self.d) as f64;
        ports_bytes(self, pass, precision) + (self.t - 1) as f64 * weights
    }
}

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
use crate::port::{Cost, OpDef, Pass, Port, Reads};

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
            Port::new("xg", &[self.b, self.t, 3 * d]),
            Port::new("weight_hh", &[3 * d, d]),
            Port::new("bias_hh", &[3 * d]),
        ]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::new("h", &[self.b, self.t, self.d])]
    }

    fn backward_reads(&self) -> Reads {
        Reads {
            ins: &[0, 1, 2],
            outs: &[0],
        }
    }

    fn cost(&self, pass: Pass) -> Cost {
        let (tokens, steps, d) = ((self.b * self.t) as f64, self.t as f64, self.d as f64);
        let weights = 12.0 * steps * d * d;
        match pass {
            Pass::Forward => Cost {
                flops: tokens * d * (6.0 * d + 12.0),
                bytes: 16.0 * tokens * d + weights,
            },
            Pass::Backward => Cost {
                flops: tokens * d * (18.0 * d + 40.0),
                bytes: 36.0 * tokens * d + weights,
            },
        }
    }
}

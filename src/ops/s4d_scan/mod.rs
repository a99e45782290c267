//! S4D: a time-invariant recurrence with N / 2 complex diagonal states a channel, zero-order hold, skip connection.
//!
//! Maths      dt = e^`log_dt`, A = -e^`log_A_real` + i `A_imag`, z = dt A, phi = (e^z - 1) / z, Ct = C dt phi; per channel
//!            `h_t = e^z h_{t-1} + u_t`, `y_t = 2 Re(Ct . h_t) + D u_t`. The same as a causal convolution with
//!            2 Re(Ct . e^(z l)) plus D u, without its Fourier transform
//! Shapes     u, y \[B, T, d\], `log_dt`, D \[d\], C \[d, N / 2, 2\] (real and imaginary), `log_A_real`, `A_imag` \[d, N / 2\].
//!            Nothing is saved
//! Gradients  du is the scan of dy backwards in time, with the same factors. `q_t = dh_t / dz = e^z (q_{t-1} + h_{t-1})`
//!            runs along with h: W0 = sum dy h, W1 = sum dy q over b, t, in two stages;
//!            gz = 2 W0 C dt phi' + 2 Ct W1, g = dt gz; dC = (Re, -Im) of 2 W0 dt phi, `dlog_A_real` = Re A Re g,
//!            `dA_imag` = -Im g, `dlog_dt` = sum over states of Re(2 W0 C dt e^z + 2 Ct W1 z), dD = sum dy u
//! Numerics   f32 throughout; the factors of each (channel, state) once a pass, to 1e-7: the angle is reduced in more
//!            digits than an f32 has, up to 6000 radians; e^z near 1 is 1 plus e^z - 1, so that slow decays keep their
//!            digits; phi and phi' by series near 0. `log_dt` and `log_A_real` are taken into \[-87, 87\].
//!            A slow state turns by hundreds of radians before it is gone, each step by an angle that was rounded the
//!            same way; so every eight steps it is multiplied by what that took from it, known to 1e-8. Gradients of the
//!            rates with N 128 at its initial values after 4,097 steps: off by up to 1.3e-6 on the CPU, 5e-6 on llvmpipe
//! Cost       a token, channel and complex state: 14 FLOPs forward, 14 + 28 backward; a token moves 8 d bytes forward,
//!            16 d backward
//! Errors     a size of 0, N / 2 above 128, more than 2^31 - 1 elements
//! Source     Gu, Gupta, Goel, Re 2022 (S4D); models.md 3.8, 4.13; golden: the model `s4`

pub mod cases;
pub(crate) mod cpu;
#[cfg(feature = "gpu")]
pub(crate) mod gpu;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use super::rows;
use crate::error::UserError;
use crate::port::{OpDef, Pass, Port};

/// Most complex states of a channel.
pub(crate) const MAX_STATES: usize = 128;

/// Inputs: u, `log_dt`, C, `log_A_real`, `A_imag`, D. Output: y.
#[derive(Debug, Clone, PartialEq)]
pub struct S4dScan {
    /// Sequences.
    pub b: usize,
    /// Their length.
    pub t: usize,
    /// d.
    pub channels: usize,
    /// N / 2, complex states of a channel.
    pub states: usize,
}

impl OpDef for S4dScan {
    const NAME: &'static str = "s4d_scan";

    fn validate(&self) -> Result<(), UserError> {
        let (channels, states) = (("channels", self.channels), ("states", self.states));
        rows::check_sizes(Self::NAME, &[("b", self.b), ("t", self.t), channels])?;
        if self.states > MAX_STATES {
            let reason = format!("{} states of a channel: at most {MAX_STATES}", self.states);
            return Err(UserError::Shape {
                op: Self::NAME,
                reason,
            });
        }
        // The kernels' planes hold four numbers a state, of states that are padded to a power of two.
        rows::check_sizes(Self::NAME, &[("planes", 16), channels, states])
    }

    fn inputs(&self) -> Vec<Port> {
        let (d, n) = (self.channels, self.states);
        vec![
            Port::activation("u", &[self.b, self.t, d]).saved(),
            Port::f32("log_dt", &[d]).saved(),
            Port::f32("C", &[d, n, 2]).saved(),
            Port::f32("log_A_real", &[d, n]).saved(),
            Port::f32("A_imag", &[d, n]).saved(),
            Port::f32("D", &[d]).saved(),
        ]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::activation("y", &[self.b, self.t, self.channels])]
    }

    fn flops(&self, pass: Pass) -> f64 {
        let n = (self.b * self.t * self.channels * self.states) as f64;
        match pass {
            Pass::Forward => 14.0 * n,
            Pass::Backward => 42.0 * n,
        }
    }
}

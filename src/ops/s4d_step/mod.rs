//! `s4d_scan` on one token a sequence: N / 2 complex states a channel live on between the runs.
//!
//! ```text
//! Maths      dt = e^log_dt, A = -e^log_A_real + i A_imag, z = dt A, Ct = C (e^z - 1) / A; per channel
//!            h <- e^z h + u     y = 2 Re(Ct . h) + D u
//! Shapes     u, y [B,d]; log_dt, D [d]; C [d,N/2,2] (real and imaginary); log_A_real, A_imag [d,N/2]; position [1] u32: tokens
//!            before this one; state h [B,d,N/2,2]
//! Gradients  none: decoding only
//! Numerics   f32 throughout; e^z and Ct as in s4d_scan, to 1e-7, made anew from the parameters for every token. As there,
//!            states get back after every eighth position what the rounding of e^z took from them: the position says when.
//!            A step's share, 3e-8 of a state, would be lost in rounding if it were given back at once
//! Cost       per channel and complex state 14 FLOPs, 8 more at every eighth position; 8 B d N bytes of states, 8 d N + 8 d of parameters, 8 B d of values.
//!            On a GPU 7 d N / 2 words of scratch
//! Errors     a size of 0, N / 2 above 128, more than 2^31 - 1 elements
//! Source     Gu, Gupta, Goel, Re 2022 (S4D); models.md 4.13, 7; token by token the same as `s4d_scan`
//! ```

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use super::rows;
use super::s4d_scan::{MAX_STATES, S4dScan};
use crate::error::UserError;
use crate::port::{OpDef, Pass, Port};

/// See the module docs. Inputs: u, `log_dt`, C, `log_A_real`, `A_imag`, D, position. Outputs: y and the
/// state.
#[derive(Debug, Clone, PartialEq)]
pub struct S4dStep {
    /// Sequences.
    pub b: usize,
    /// d.
    pub channels: usize,
    /// N / 2, complex states of a channel.
    pub states: usize,
}

impl From<&S4dScan> for S4dStep {
    /// A token of the scan over whole sequences.
    fn from(whole: &S4dScan) -> Self {
        Self {
            b: whole.b,
            channels: whole.channels,
            states: whole.states,
        }
    }
}

impl OpDef for S4dStep {
    const NAME: &'static str = "s4d_step";

    fn validate(&self) -> Result<(), UserError> {
        let (b, d, n) = (
            ("b", self.b),
            ("channels", self.channels),
            ("states", self.states),
        );
        rows::check_sizes(Self::NAME, &[b, d, n, ("parts", 2)])?;
        rows::check_sizes(Self::NAME, &[("planes", 7), d, n])?;
        if self.states > MAX_STATES {
            let reason = format!("{} states of a channel: at most {MAX_STATES}", self.states);
            return Err(UserError::Shape {
                op: Self::NAME,
                reason,
            });
        }
        Ok(())
    }

    fn inputs(&self) -> Vec<Port> {
        let (d, n) = (self.channels, self.states);
        vec![
            Port::activation("u", &[self.b, d]).fixed(),
            Port::f32("log_dt", &[d]).fixed(),
            Port::f32("C", &[d, n, 2]).fixed(),
            Port::f32("log_A_real", &[d, n]).fixed(),
            Port::f32("A_imag", &[d, n]).fixed(),
            Port::f32("D", &[d]).fixed(),
            Port::index("position", &[1]),
        ]
    }

    fn outputs(&self) -> Vec<Port> {
        let (b, d) = (self.b, self.channels);
        vec![
            Port::activation("y", &[b, d]),
            Port::state("state", &[b, d, self.states, 2]),
        ]
    }

    fn flops(&self, _pass: Pass) -> f64 {
        15.0 * (self.b * self.channels * self.states) as f64
    }
}

//! `selective_scan` on one token a sequence: N states a channel live on between the runs.
//!
//! ```text
//! Maths      dt = softplus(delta_raw + delta_bias), A = -exp(A_log); per channel
//!            h <- [decays] exp(dt A) h + [tied] dt u Bm     y = (Cm . h + D u) [gated] silu(z)
//!            what a flag takes away is 1
//! Shapes     u, delta_raw, z, y [B,E]; Bm, Cm [B,N]; A_log [E,N]; delta_bias, D [E]; state h [B,E,N]. Without `gated`
//!            there is no z, without `decays` no A_log, without both `tied` and `decays` no delta_raw and no delta_bias
//! Gradients  none: decoding only
//! Numerics   f32 throughout; any decay down to 0
//! Cost       per channel and state 4 FLOPs, with `decays` 2 and an exp more; 8 B E N bytes of states, 4 E N of A_log, and
//!            B (4 E + 2 N) values. On a GPU 4 B E words of scratch
//! Errors     a size of 0, N above 256, more than 2^31 - 1 elements
//! Source     Gu and Dao 2023, section 3; models.md 4.7, 7; token by token the same as `selective_scan`
//! ```

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use super::rows;
use super::selective_scan::MAX_STATES;
use super::selective_scan::SelectiveScan;
use crate::error::UserError;
use crate::port::{Cost, OpDef, Pass, Port};

/// See the module docs. Inputs, those that there are: u, `delta_raw`, z, Bm, Cm, `A_log`, `delta_bias`, D. Outputs: y and
/// the state.
#[derive(Debug, Clone, PartialEq)]
pub struct ScanStep {
    /// Sequences.
    pub b: usize,
    /// E.
    pub channels: usize,
    /// N, states of a channel.
    pub states: usize,
    /// Whether z gates the output.
    pub gated: bool,
    /// Whether dt scales what is written.
    pub tied: bool,
    /// Whether states decay.
    pub decays: bool,
}

impl ScanStep {
    /// Whether there is a dt.
    fn timed(&self) -> bool {
        self.tied || self.decays
    }
}

impl From<&SelectiveScan> for ScanStep {
    /// A token of the scan over whole sequences.
    fn from(whole: &SelectiveScan) -> Self {
        Self {
            b: whole.b,
            channels: whole.channels,
            states: whole.states,
            gated: whole.gated,
            tied: whole.tied,
            decays: whole.decays,
        }
    }
}

impl OpDef for ScanStep {
    const NAME: &'static str = "scan_step";

    fn validate(&self) -> Result<(), UserError> {
        let sizes = [
            ("b", self.b),
            ("channels", self.channels),
            ("states", self.states),
        ];
        rows::check_sizes(Self::NAME, &sizes)?;
        rows::check_sizes(
            Self::NAME,
            &[("b", self.b), ("channels", self.channels), ("values", 4)],
        )?;
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
        let (b, e, n) = (self.b, self.channels, self.states);
        let ports = [
            (true, "u", vec![b, e]),
            (self.timed(), "delta_raw", vec![b, e]),
            (self.gated, "z", vec![b, e]),
            (true, "Bm", vec![b, n]),
            (true, "Cm", vec![b, n]),
            (self.decays, "A_log", vec![e, n]),
            (self.timed(), "delta_bias", vec![e]),
            (true, "D", vec![e]),
        ];
        let there = ports.into_iter().filter(|(there, ..)| *there);
        there.map(|(_, name, shape)| Port::fixed(name, &shape)).collect()
    }

    fn outputs(&self) -> Vec<Port> {
        let (b, e) = (self.b, self.channels);
        vec![
            Port::new("y", &[b, e]),
            Port::state("state", &[b, e, self.states]),
        ]
    }

    fn cost(&self, _pass: Pass) -> Cost {
        let [b, e, n] = [self.b, self.channels, self.states].map(|x| x as f64);
        let (decay, rates) = if self.decays {
            (3.0, 4.0 * e * n)
        } else {
            (0.0, 0.0)
        };
        Cost {
            flops: b * e * n * (4.0 + decay),
            bytes: 8.0 * b * e * n + rates + 4.0 * b * (4.0 * e + 2.0 * n),
        }
    }
}

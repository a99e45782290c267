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
use crate::ops::OverTime;
use crate::port::{OpDef, Pass, Port};

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

impl OverTime for SelectiveScan {
    type Step = ScanStep;
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
            (true, Port::activation("u", &[b, e])),
            (self.timed(), Port::activation("delta_raw", &[b, e])),
            (self.gated, Port::activation("z", &[b, e])),
            (true, Port::activation("Bm", &[b, n])),
            (true, Port::activation("Cm", &[b, n])),
            (self.decays, Port::f32("A_log", &[e, n])),
            (self.timed(), Port::f32("delta_bias", &[e])),
            (true, Port::f32("D", &[e])),
        ];
        let there = ports.into_iter().filter(|(there, _)| *there);
        there.map(|(_, port)| port.fixed()).collect()
    }

    fn outputs(&self) -> Vec<Port> {
        let (b, e) = (self.b, self.channels);
        vec![
            Port::activation("y", &[b, e]),
            Port::state("state", &[b, e, self.states]),
        ]
    }

    fn flops(&self, _pass: Pass) -> f64 {
        let decay = if self.decays { 3.0 } else { 0.0 };
        (self.b * self.channels * self.states) as f64 * (4.0 + decay)
    }
}

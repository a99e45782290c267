//! Mamba's selective scan: a diagonal recurrence with N states a channel whose step, input and read-out depend on the
//! data, with softplus of the step, skip connection and output gate fused. Flags leave out the gate, the decay, or the
//! step's share of the write.
//!
//! Maths      dt = softplus(`delta_raw` + `delta_bias`), A = -exp(`A_log`); per channel
//!            `h_t = exp(dt_t A) h_{t-1} + dt_t u_t Bm_t`, `y_t = (Cm_t . h_t + D u_t) silu(z_t)`
//!            Not `gated`: y without silu(z). Not `tied`: writes `u_t Bm_t`. Without `decays`: h is kept whole
//!            In segments: h of a segment by itself, plus exp(A sum dt) times what the segment begins with
//! Shapes     u, `delta_raw`, z, y \[B, T, E\], Bm, Cm \[B, T, N\], `A_log` \[E, N\], `delta_bias`, D \[E\], in
//!            this order, those that the flags read: z if `gated`, `A_log` if `decays`, `delta_raw` and `delta_bias` if
//!            `tied` or `decays`; saved: h before each chunk of 32 steps \[B, chunks, E, N\]
//! Gradients  yp = Cm . h + D u, dp = dy silu(z), `lam_t = dp_t Cm_t + a_{t+1} lam_{t+1}`, a = exp(dt A),
//!            `m_t = lam_t h_{t-1} a_t`; dz = dy yp silu'(z), `dCm = sum_E dp h`, `dBm = sum_E lam dt u`,
//!            `dD = sum dp u`, du = D dp + dt (lam . Bm), `dA_log = A sum m dt`,
//!            `ddelta_raw = (m . A + u (lam . Bm)) sigma(delta_raw + delta_bias)`, `grad_delta_bias` its sum over b, t;
//!            h inside a chunk is computed again, sums over E and over b, t are in two stages. Not tied: dt in du, and
//!            dt u in `dBm`, become 1 and u, and `grad_delta_raw` loses u (lam . Bm); without decays m is 0 and a is 1
//! Numerics   f32 throughout; no product of decays is divided out, so any decay down to 0 is fine.
//!            llvmpipe leaves a thread's loops after 65,535 turns, so that walks are cut short there
//! Cost       a token, channel and state: 6 FLOPs and an exp forward, 19 and an exp backward; a token moves
//!            4 (4 E + 2 N) bytes forward, 4 (7 E + 4 N) backward, and E N / 8 of states. Without decays 4 FLOPs and
//!            11; without z or dt E words a token less forward, 2 E backward
//! Errors     a size of 0, N above 256, more than 2^31 - 1 elements
//! Source     Gu and Dao 2023, section 3; models.md 4.7; golden: `selective_scan`

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use super::rows;
use crate::error::UserError;
use crate::port::{OpDef, Pass, Port};

/// Steps between saved states.
const CHUNK: usize = 32;
/// All inputs, those that no flag asks for included.
const INPUTS: [&str; 8] = ["u", "delta_raw", "z", "Bm", "Cm", "A_log", "delta_bias", "D"];
/// Most states of a channel.
pub(crate) const MAX_STATES: usize = 256;

/// Inputs: those of u, `delta_raw`, z, Bm, Cm, `A_log`, `delta_bias`, D that the flags read. Outputs: y, saved.
#[derive(Debug, Clone, PartialEq)]
pub struct SelectiveScan {
    /// Sequences.
    pub b: usize,
    /// Their length.
    pub t: usize,
    /// E.
    pub channels: usize,
    /// N, states of a channel.
    pub states: usize,
    /// Whether silu(z) multiplies the output; else there is no z.
    pub gated: bool,
    /// Whether what is forgotten and what is written are complementary, dt scaling the write as well; else u is written
    /// in full.
    pub tied: bool,
    /// Whether the states decay by exp(dt A); else there is no `A_log`, and dt only if it is tied.
    pub decays: bool,
}

impl SelectiveScan {
    fn chunks(&self) -> usize {
        self.t.div_ceil(CHUNK)
    }

    /// Whether there is a step dt.
    fn timed(&self) -> bool {
        self.tied || self.decays
    }
}

impl OpDef for SelectiveScan {
    const NAME: &'static str = "selective_scan";

    fn validate(&self) -> Result<(), UserError> {
        let (b, t) = (("b", self.b), ("t", self.t));
        let (channels, states) = (("channels", self.channels), ("states", self.states));
        rows::check_sizes(Self::NAME, &[b, t, channels])?;
        rows::check_sizes(Self::NAME, &[b, t, states])?;
        rows::check_sizes(Self::NAME, &[b, ("chunks", self.chunks()), channels, states])?;
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
        let (b, t, e, n) = (self.b, self.t, self.channels, self.states);
        let ports = [
            (true, Port::activation("u", &[b, t, e])),
            (self.timed(), Port::activation("delta_raw", &[b, t, e])),
            (self.gated, Port::activation("z", &[b, t, e])),
            (true, Port::activation("Bm", &[b, t, n])),
            (true, Port::activation("Cm", &[b, t, n])),
            (self.decays, Port::f32("A_log", &[e, n])),
            (self.timed(), Port::f32("delta_bias", &[e])),
            (true, Port::f32("D", &[e])),
        ];
        let there = ports.into_iter().filter(|(there, _)| *there);
        there.map(|(_, port)| port.saved()).collect()
    }

    fn outputs(&self) -> Vec<Port> {
        let (b, e) = (self.b, self.channels);
        vec![
            Port::activation("y", &[b, self.t, e]),
            Port::f32("saved", &[b, self.chunks(), e, self.states])
                .fixed()
                .saved(),
        ]
    }

    fn flops(&self, pass: Pass) -> f64 {
        let n = (self.b * self.t * self.channels * self.states) as f64;
        match (pass, self.decays) {
            (Pass::Forward, true) => 7.0 * n,
            (Pass::Forward, false) => 4.0 * n,
            (Pass::Backward, true) => 20.0 * n,
            (Pass::Backward, false) => 11.0 * n,
        }
    }
}

//! Mamba's selective scan: a diagonal recurrence with N states a channel whose step, input and read-out depend on the
//! data, with softplus of the step, skip connection and output gate fused.
//!
//! Maths      dt = softplus(`delta_raw` + `delta_bias`), A = -exp(`A_log`); per channel
//!            `h_t = exp(dt_t A) h_{t-1} + dt_t u_t Bm_t`, `y_t = (Cm_t . h_t + D u_t) silu(z_t)`
//!            In segments: h of a segment by itself, plus exp(A sum dt) times what the segment begins with
//! Shapes     u, `delta_raw`, z, y \[B, T, E\], Bm, Cm \[B, T, N\], `A_log` \[E, N\], `delta_bias`, D \[E\];
//!            saved: h before each chunk of 32 steps \[B, chunks, E, N\]
//! Gradients  yp = Cm . h + D u, dp = dy silu(z), `lam_t = dp_t Cm_t + a_{t+1} lam_{t+1}`, a = exp(dt A),
//!            `m_t = lam_t h_{t-1} a_t`; dz = dy yp silu'(z), `dCm = sum_E dp h`, `dBm = sum_E lam dt u`,
//!            `dD = sum dp u`, du = D dp + dt (lam . Bm), `dA_log = A sum m dt`,
//!            `ddelta_raw = (m . A + u (lam . Bm)) sigma(delta_raw + delta_bias)`, `ddelta_bias` its sum over b, t;
//!            h inside a chunk is computed again, sums over E and over b, t are in two stages
//! Numerics   f32 throughout; no product of decays is divided out, so any decay down to 0 is fine.
//!            Known limit of software Vulkan: llvmpipe leaves a thread's loops after 65,535 turns in all, and the backward
//!            pass takes 140 a step for N 16; a sequence that is not cut into segments (there are 133 or more of them)
//!            then has wrong gradients from about 470 steps on
//! Cost       a token, channel and state: 6 FLOPs and an exp forward, 19 and an exp backward; a token moves
//!            4 (4 E + 2 N) bytes forward, 4 (7 E + 4 N) backward, and E N / 8 of states
//! Errors     a size of 0, N above 256, more than 2^31 - 1 elements
//! Source     Gu and Dao 2023, section 3; models.md 4.7; golden: `selective_scan`

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use super::{Cost, OpDef, Pass, Port, Reads, rows};
use crate::error::UserError;

/// Steps between saved states.
const CHUNK: usize = 32;
/// Most states of a channel.
pub(crate) const MAX_STATES: usize = 256;

/// Inputs: u, `delta_raw`, z, Bm, Cm, `A_log`, `delta_bias`, D. Outputs: y, saved.
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
}

impl SelectiveScan {
    fn chunks(&self) -> usize {
        self.t.div_ceil(CHUNK)
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
        vec![
            Port::new("u", &[b, t, e]),
            Port::new("delta_raw", &[b, t, e]),
            Port::new("z", &[b, t, e]),
            Port::new("Bm", &[b, t, n]),
            Port::new("Cm", &[b, t, n]),
            Port::new("A_log", &[e, n]),
            Port::new("delta_bias", &[e]),
            Port::new("D", &[e]),
        ]
    }

    fn outputs(&self) -> Vec<Port> {
        let (b, e) = (self.b, self.channels);
        vec![
            Port::new("y", &[b, self.t, e]),
            Port::new("saved", &[b, self.chunks(), e, self.states]),
        ]
    }

    fn backward_reads(&self) -> Reads {
        Reads {
            ins: &[0, 1, 2, 3, 4, 5, 6, 7],
            outs: &[1],
        }
    }

    fn cost(&self, pass: Pass) -> Cost {
        let tokens = (self.b * self.t) as f64;
        let (e, n) = (self.channels as f64, self.states as f64);
        let saved = 4.0 * (self.b * self.chunks()) as f64 * e * n;
        match pass {
            Pass::Forward => Cost {
                flops: 7.0 * tokens * e * n,
                bytes: 4.0 * tokens * (4.0 * e + 2.0 * n) + saved,
            },
            Pass::Backward => Cost {
                flops: 20.0 * tokens * e * n,
                bytes: 4.0 * tokens * (7.0 * e + 4.0 * n) + saved,
            },
        }
    }
}

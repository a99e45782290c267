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
mod tests;

use super::rows;
use crate::error::UserError;
use crate::port::{Cost, OpDef, Pass, Port, Reads};

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

    /// Which of all inputs there are.
    fn reads(&self) -> [bool; INPUTS.len()] {
        let timed = self.timed();
        [true, timed, self.gated, true, true, self.decays, timed, true]
    }

    /// Spreads what the input ports have over the places of all inputs.
    fn places<T>(&self, ports: impl IntoIterator<Item = T>) -> [Option<T>; INPUTS.len()] {
        let mut ports = ports.into_iter();
        self.reads().map(|read| if read { ports.next() } else { None })
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
        let (points, rows) = ([b, t, e], [b, t, n]);
        let shapes: [&[usize]; 8] = [&points, &points, &points, &rows, &rows, &[e, n], &[e], &[e]];
        let all = INPUTS.iter().zip(shapes).zip(self.reads());
        all.filter(|(_, read)| *read)
            .map(|((name, shape), _)| Port::new(name, shape))
            .collect()
    }

    fn outputs(&self) -> Vec<Port> {
        let (b, e) = (self.b, self.channels);
        vec![
            Port::new("y", &[b, self.t, e]),
            Port::new("saved", &[b, self.chunks(), e, self.states]),
        ]
    }

    fn backward_reads(&self) -> Reads {
        const ALL: &[usize] = &[0, 1, 2, 3, 4, 5, 6, 7];
        let count = self.reads().into_iter().filter(|read| *read).count();
        Reads {
            ins: &ALL[..count],
            outs: &[1],
        }
    }

    fn cost(&self, pass: Pass) -> Cost {
        let tokens = (self.b * self.t) as f64;
        let (e, n) = (self.channels as f64, self.states as f64);
        let saved = 4.0 * (self.b * self.chunks()) as f64 * e * n;
        let (forward, backward) = if self.decays { (7.0, 20.0) } else { (4.0, 11.0) };
        let optional = f64::from(u8::from(self.gated) + u8::from(self.timed()));
        let (flops, points, rows) = match pass {
            Pass::Forward => (forward, 2.0 + optional, 2.0),
            Pass::Backward => (backward, 3.0 + 2.0 * optional, 4.0),
        };
        Cost {
            flops: flops * tokens * e * n,
            bytes: 4.0 * tokens * (points * e + rows * n) + saved,
        }
    }
}

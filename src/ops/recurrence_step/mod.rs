//! `delta_rule` and `linear_attention` on one token a sequence, with any decay and any write: the matrix S of a head is
//! its state.
//!
//! ```text
//! Maths, per head (S is [d_k, d_v], s = scale, A = exp(g) a scalar or a factor a key channel):
//!   S <- diag(A) S     n times: S <- S + k_j (beta_j (v_j - [delta] S^T k_j))^T     o = s S^T q
//! Shapes     q [B,H,d_k]; k [B,n,H,d_k]; v [B,n,H,d_v]; q and k shared by the heads [B,d_k] and [B,n,d_k]; beta [B,n,H]
//!            if there is one, else 1; g (log decay, <= 0): Scalar [B,H], Channel [B,H,d_k] (as `gk`), Constant
//!            (1 - 2^(-5-h) in head h) and None no input; o [B,H,d_v]; state S [B,H,d_k,d_v]; d_k and d_v from 1 to 256,
//!            n from 1 to 8
//! Gradients  none: decoding only
//! Numerics   f32 throughout; any decay from 1 to exactly 0. The factors of Constant are exact in f32 up to head 19
//! Cost       per head d_k d_v (2 + 2 n (delta: 4 n) + 1 for a decay) FLOPs, 8 d_k d_v + 4 (d_k + n d_k + n d_v + d_v)
//!            bytes and the gates
//! Errors     d_k or d_v outside 1..=256, n outside 1..=8, a size of 0, more than 2^31 - 1 elements of S or of k or v
//! Source     models.md 4.2 to 4.6, 7; token by token the same as `delta_rule` and `linear_attention`
//! ```

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use super::chunks::check_widths;
use super::delta_rule::check_steps;
use super::linear_attention::Decay;
use super::rows;
use crate::error::UserError;
use crate::port::{Cost, OpDef, Pass, Port};

/// See the module docs. Inputs: q, k, v, beta if `beta`, and g (Scalar) or gk (Channel). Outputs: o and the state.
#[derive(Debug, Clone, PartialEq)]
pub struct RecurrenceStep {
    /// Sequences.
    pub b: usize,
    /// Heads.
    pub h: usize,
    /// Key width of a head.
    pub dk: usize,
    /// Value width of a head.
    pub dv: usize,
    /// Factor of the read-out, mostly `dk^-1/2`.
    pub scale: f32,
    /// What the state keeps.
    pub decay: Decay,
    /// Whether all heads have the same q and k (Mamba2's C and B).
    pub shared_qk: bool,
    /// Whether a write replaces what the key reads, or is added to it.
    pub delta: bool,
    /// Whether writes have strengths.
    pub beta: bool,
    /// n, writes a token: from 1 to [`MAX_STEPS`](super::delta_rule::MAX_STEPS).
    pub steps: usize,
}

impl RecurrenceStep {
    /// Heads of q and k.
    fn key_heads(&self) -> usize {
        if self.shared_qk { 1 } else { self.h }
    }
}

impl OpDef for RecurrenceStep {
    const NAME: &'static str = "recurrence_step";

    fn validate(&self) -> Result<(), UserError> {
        let Self {
            b, h, dk, dv, steps, ..
        } = *self;
        check_widths(Self::NAME, dk, dv)?;
        check_steps(Self::NAME, steps)?;
        let heads = [("B", b), ("H", h)];
        let check = |last: [(&'static str, usize); 2]| rows::check_sizes(Self::NAME, &[heads, last].concat());
        check([("d_k", dk), ("d_v", dv)])?;
        check([("steps", steps), ("max(d_k, d_v)", dk.max(dv))])
    }

    fn inputs(&self) -> Vec<Port> {
        let Self {
            b, h, dk, dv, steps, ..
        } = *self;
        let keys = self.key_heads();
        let mut ports = vec![
            Port::fixed("q", &[b, keys, dk]),
            Port::fixed("k", &[b, steps, keys, dk]),
            Port::fixed("v", &[b, steps, h, dv]),
        ];
        if self.beta {
            ports.push(Port::fixed("beta", &[b, steps, h]));
        }
        match self.decay {
            Decay::None | Decay::Constant => {}
            Decay::Scalar => ports.push(Port::fixed("g", &[b, h])),
            Decay::Channel => ports.push(Port::fixed("gk", &[b, h, dk])),
        }
        ports
    }

    fn outputs(&self) -> Vec<Port> {
        let Self { b, h, dk, dv, .. } = *self;
        vec![Port::new("o", &[b, h, dv]), Port::state("state", &[b, h, dk, dv])]
    }

    fn cost(&self, _pass: Pass) -> Cost {
        let [dk, dv, n] = [self.dk, self.dv, self.steps].map(|x| x as f64);
        let (heads, key_heads) = ((self.b * self.h) as f64, (self.b * self.key_heads()) as f64);
        let decay = if self.decay == Decay::None { 0.0 } else { 1.0 };
        let write = if self.delta { 4.0 } else { 2.0 };
        let gates = match self.decay {
            Decay::None | Decay::Constant => 0.0,
            Decay::Scalar => 1.0,
            Decay::Channel => dk,
        };
        let strengths = if self.beta { n } else { 0.0 };
        Cost {
            flops: heads * dk * dv * (2.0 + n * write + decay),
            bytes: heads * (8.0 * dk * dv + 4.0 * (n * dv + dv + gates + strengths))
                + key_heads * 4.0 * (1.0 + n) * dk,
        }
    }
}

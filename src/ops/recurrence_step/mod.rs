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

use super::Decay;
use super::chunks::check_widths;
use super::delta_rule::{DeltaRule, check_householder};
use super::linear_attention::LinearAttention;
use super::rows;
use crate::error::UserError;
use crate::ops::OverTime;
use crate::port::{OpDef, Pass, Port};

/// See the module docs. Inputs: q, k, v, beta if `beta`, and g (Scalar) or gk (Channel). Outputs: o and the state.
#[derive(Debug, Clone, PartialEq)]
pub struct RecurrenceStep {
    /// Sequences.
    pub b: usize,
    /// Heads.
    pub h: usize,
    /// Key width of a head.
    pub d_k: usize,
    /// Value width of a head.
    pub d_v: usize,
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
    /// n, Householder factors, and so writes, a token: from 1 to [`MAX_HOUSEHOLDER`](super::delta_rule::MAX_HOUSEHOLDER).
    pub householder: usize,
}

impl From<&DeltaRule> for RecurrenceStep {
    /// One token of the delta rule, whose queries and keys have unit length already where the rule asks for that.
    fn from(op: &DeltaRule) -> Self {
        assert!(!op.unit, "a step takes rows as they are");
        Self {
            b: op.b,
            h: op.h,
            d_k: op.d_k,
            d_v: op.d_v,
            scale: op.scale,
            decay: op.decay,
            shared_qk: false,
            delta: true,
            beta: true,
            householder: op.householder,
        }
    }
}

impl OverTime for DeltaRule {
    type Step = RecurrenceStep;
}

impl From<&LinearAttention> for RecurrenceStep {
    /// One token of additive linear attention.
    fn from(op: &LinearAttention) -> Self {
        Self {
            b: op.b,
            h: op.h,
            d_k: op.d_k,
            d_v: op.d_v,
            scale: op.scale,
            decay: op.decay,
            shared_qk: op.shared_qk,
            delta: false,
            beta: false,
            householder: 1,
        }
    }
}

impl OverTime for LinearAttention {
    type Step = RecurrenceStep;
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
            b,
            h,
            d_k,
            d_v,
            householder,
            ..
        } = *self;
        check_widths(Self::NAME, d_k, d_v)?;
        check_householder(Self::NAME, householder)?;
        let heads = [("B", b), ("H", h)];
        let check = |last: [(&'static str, usize); 2]| rows::check_sizes(Self::NAME, &[heads, last].concat());
        check([("d_k", d_k), ("d_v", d_v)])?;
        check([("n", householder), ("max(d_k, d_v)", d_k.max(d_v))])
    }

    fn inputs(&self) -> Vec<Port> {
        let Self {
            b,
            h,
            d_k,
            d_v,
            householder,
            ..
        } = *self;
        let keys = self.key_heads();
        let mut ports = vec![
            Port::activation("q", &[b, keys, d_k]).fixed(),
            Port::activation("k", &[b, householder, keys, d_k]).fixed(),
            Port::activation("v", &[b, householder, h, d_v]).fixed(),
        ];
        if self.beta {
            ports.push(Port::f32("beta", &[b, householder, h]).fixed());
        }
        ports.extend(self.decay.port(&[b, h], d_k).map(Port::fixed));
        ports
    }

    fn outputs(&self) -> Vec<Port> {
        let Self { b, h, d_k, d_v, .. } = *self;
        vec![
            Port::activation("o", &[b, h, d_v]),
            Port::state("state", &[b, h, d_k, d_v]),
        ]
    }

    fn flops(&self, _pass: Pass) -> f64 {
        let [d_k, d_v, n] = [self.d_k, self.d_v, self.householder].map(|x| x as f64);
        let decay = if self.decay == Decay::None { 0.0 } else { 1.0 };
        let write = if self.delta { 4.0 } else { 2.0 };
        (self.b * self.h) as f64 * d_k * d_v * (2.0 + n * write + decay)
    }
}

//! Additive linear attention: a linear recurrence that only adds to its memory, with any of four decays.
//!
//! ```text
//! Maths, per head (S is [d_k, d_v]; A_t = exp(g_t), a scalar or a factor a key channel):
//!   S_t = diag(A_t) S_{t-1} + k_t v_t^T     o_t = scale S_t^T q_t
//! Chunkwise, C tokens at a time (rows Q, K, V; S the state at the chunk's start; in_i, out_i the decay from the chunk's
//! start to token i and from i to its end, a = in_C, Gam_ij the decay from token j to token i, all per channel x for
//! Channel):
//!   P_ij = sum_x q_ix k_jx Gam_ijx, i >= j  O = s ((Q * p) S + P V)           S' = diag(a) S + (K * s)^T V
//! Shapes     q, k [B,T,H,d_k], shared by the heads [B,T,d_k]; v, o [B,T,H,d_v]; g (log decay, <= 0): Scalar [B,T,H],
//!            Channel [B,T,H,d_k], Constant and None no input; saved: states [B,H,chunks,d_k,d_v] (S at each chunk's
//!            start); d_k and d_v from 1 to 256, C 16, 32 or 64, any T; a last chunk may be partly filled
//! Gradients  with Do = scale dO and D = dL/dS' of the chunk, in reverse order (in, out, Gam, P are computed again; `half_coop`
//!            keeps P of Channel, in f16, behind the states):
//!   dV  = P^T Do + (K * out) D              D  <- diag(a) D + (Q * in)^T Do
//!   dP  = tril(Do V^T)                      X1 = p * (Do S^T)                 X3 = s * (V D^T)
//!   dQ_ix = X1_ix + sum_j dP_ij k_jx Gam_ijx                dK_jx = X3_jx + sum_i dP_ij q_ix Gam_ijx
//!   dg_t = sum_{i>=t>j} dP_ij P_ij + sum_{i>=t} X1_i . q_i + sum_{j<t} X3_j . k_j + a <S, D>
//!            Channel: the same a channel, the first sum as suffix sums of q * dQ' - k * dK', where dQ', dK' are the
//!            sums over j < i above. Gradients of shared q, k are sums over heads, in order
//! Numerics   f32 throughout; tile products on matrix units are of operands split into two f16, with a scale for every 16
//!            of the inner dimension (`lib/tile`); in mixed precision the variant `half_coop` (`chunks/half`) keeps S
//!            in f32 accumulators and reads operands in f16. Every decay factor is the exponential of a sum of non-positive log decays or a product of
//!            such, never of a difference of prefix sums: strong decay costs no digits. Channel: by sub-blocks, the
//!            factor of a pair of tokens split at the ends of their sub-blocks (16 tokens on the CPU, 4 on a GPU),
//!            inside a sub-block explicit; `half_coop` splits it at the middle of the group of 8, 16, 32 or 64 that both are
//!            in (`lib/half_channel`), and rounds keys and queries with their factors, and dP, to f16. g is clamped at -1e4, a gate of exactly 0. Constant: log1p in the twin, its
//!            series in the kernel, exact to rounding. What does not decay (the diagonal of P) is left out of dg, so
//!            that gradients of strong decays are right however small; with scalar decays the twin has P, dP and dV in
//!            f64 in its backward pass, as what they are summed to (dg, then the gradients of rates and steps) cancels a
//!            thousandfold
//! Cost       per token and head, forward 4 d_k d_v + C (2 d_k + 2 d_v) FLOPs, backward 8 d_k d_v + C (6 d_k + 4 d_v);
//!            with shared q, k: 2 C d_k (6 C d_k) of that once a token; bytes, f32: 4 (2 d_k + 2 d_v + n_g) +
//!            4 d_k d_v / C and 4 (4 d_k + 3 d_v + 2 n_g) + 12 d_k d_v / C, n_g = 0, 1 or d_k log decays. On a GPU a
//!            pass takes C words of scratch a token and head for P and 3 (backward 21) for the row factors or, for
//!            Channel, 2 d_k (4 d_k) for the channel factors; the backward pass another d_k d_v / C; `half_coop` goes through the batch by parts where scratch
//!            passes 1 GiB
//! Errors     d_k or d_v outside 1..=256, another chunk length, a size of 0, B or H above 65,535, above 4,095 chunks,
//!            shared q, k with Channel, more than 2^31 - 1 words of states, of P or of factors
//! Source     Yang et al. 2024, "Gated Linear Attention Transformers with Hardware-Efficient Training", section 4;
//!            Sun et al. 2023, "Retentive Network", section 2 (Constant); Dao, Gu 2024, "Transformers are SSMs",
//!            section 6 (shared q, k); models.md 4.1, 4.4 to 4.6; golden: gla, simple_gla, retention, mamba2_ssd
//! ```

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use super::Decay;
use super::chunks::{MAX_GRID, Sizes};
use super::rows;
use crate::error::UserError;
use crate::port::{OpDef, Pass, Port, ports_bytes};
use crate::tensor::Precision;

/// Chunk length that suits every device.
pub const CHUNK: usize = 64;

/// Chunks of a sequence: each takes up to 16 workgroups, one for 64 (or 16) columns of a head.
const MAX_CHUNKS: usize = MAX_GRID / 16;

/// See the module docs. Inputs: q, k, v, and g (Scalar) or gk (Channel).
#[derive(Debug, Clone, PartialEq)]
pub struct LinearAttention {
    /// Sequences.
    pub b: usize,
    /// Tokens of a sequence.
    pub t: usize,
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
    /// Tokens of a chunk: 16, 32 or 64 ([`CHUNK`] if nothing speaks against it).
    pub chunk: usize,
}

impl LinearAttention {
    /// Chunks of a sequence, the last one partly filled.
    pub fn chunks(&self) -> usize {
        self.sizes().chunks()
    }

    /// Its sizes, as the family has them.
    pub(super) fn sizes(&self) -> Sizes {
        Sizes {
            b: self.b,
            t: self.t,
            h: self.h,
            d_k: self.d_k,
            d_v: self.d_v,
            chunk: self.chunk,
            tokens: self.chunk,
        }
    }

    /// Heads of q and k.
    fn key_heads(&self) -> usize {
        if self.shared_qk { 1 } else { self.h }
    }
}

impl OpDef for LinearAttention {
    const NAME: &'static str = "linear_attention";

    fn validate(&self) -> Result<(), UserError> {
        self.sizes().check(Self::NAME, MAX_CHUNKS)?;
        if self.shared_qk && self.decay == Decay::Channel {
            let reason = "q and k shared by the heads, decay by channel: allowed: one of the two".to_owned();
            return Err(UserError::Shape {
                op: Self::NAME,
                reason,
            });
        }
        // What the kernels index: states, P and factors or values of tokens.
        let Self {
            d_k, d_v, chunk: c, ..
        } = *self;
        let blocks = [("B", self.b), ("H", self.h), ("chunks", self.chunks())];
        let words = |last: [(&'static str, usize); 2]| {
            let sizes: Vec<_> = blocks.into_iter().chain(last).collect();
            rows::check_sizes(Self::NAME, &sizes)
        };
        words([("d_k", d_k), ("d_v", d_v)])?;
        words([("C", c), ("C", c)])?;
        words([("C", c), ("2 max(d_k, d_v)", 2 * d_k.max(d_v))])
    }

    fn inputs(&self) -> Vec<Port> {
        let Self {
            b, t, h, d_k, d_v, ..
        } = *self;
        let keys = [b, t, self.key_heads(), d_k];
        let mut ports = vec![
            Port::activation("q", &keys).saved(),
            Port::activation("k", &keys).saved(),
            Port::activation("v", &[b, t, h, d_v]).saved(),
        ];
        ports.extend(self.decay.port(&[b, t, h], d_k).map(Port::saved));
        ports
    }

    fn outputs(&self) -> Vec<Port> {
        let Self {
            b, t, h, d_k, d_v, ..
        } = *self;
        vec![
            Port::activation("o", &[b, t, h, d_v]),
            Port::f32("states", &[b, h, self.chunks(), d_k, d_v])
                .fixed()
                .saved(),
        ]
    }

    fn flops(&self, pass: Pass) -> f64 {
        let [d_k, d_v, c] = [self.d_k, self.d_v, self.chunk].map(|n| n as f64);
        let tokens = (self.b * self.t) as f64;
        let (heads, key_heads) = (self.h as f64, self.key_heads() as f64);
        let (flops, key_flops) = match pass {
            Pass::Forward => (4.0 * d_k * d_v + 2.0 * c * d_v, 2.0 * c * d_k),
            Pass::Backward => (8.0 * d_k * d_v + 4.0 * c * d_v, 6.0 * c * d_k),
        };
        tokens * (heads * flops + key_heads * key_flops)
    }

    fn bytes(&self, pass: Pass, precision: Precision) -> f64 {
        ports_bytes(self, pass, precision) + self.sizes().state_gradient_bytes(pass)
    }
}

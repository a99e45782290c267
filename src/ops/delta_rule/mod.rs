//! The delta rule, the gated delta rule and the gated delta product: a linear recurrence that corrects its memory
//! towards each value, in one or several writes a token.
//!
//! ```text
//! Maths, per head (S is [d_k, d_v]; A_t = exp(g_t), a scalar or a factor a key channel):
//!   Sd_t = diag(A_t) S_{t-1}    S_t = Sd_t + k_t (beta_t (v_t - Sd_t^T k_t))^T     o_t = scale S_t^T q_t
//! Chunkwise, C tokens at a time (rows Q, K, V; b = diag(beta); S the state at the chunk's start; in_i, out_i the decay
//! from the chunk's start to token i and from i to its end, a = in_C, Gam_ij the decay from token j to token i):
//!   G  = stril(K K^T * Gam)     Tm = (I + b G)^-1           P = tril(Q K^T * Gam)
//!   U  = V - diag(in) K S       Vn = Tm b U                 O = scale (diag(in) Q S + P Vn)
//!   S' = a S + K^T diag(out) Vn
//! Asked for `unit` queries and keys, q and k above are the rows of the inputs over (sum of squares + 1e-6)^1/2, as of
//! `l2_norm`: computed again in the backward pass, so that only the inputs are kept.
//! n Householder factors a token, each with its own write: the same on the time axis T n, with g_t at the first row of
//! token t and 0 at its others, q_t and o_t at the last. Q, O, P and E have a row a token, C / n a chunk, all else a row
//! a write; a chunk is the most whole tokens that fit C rows. A decay by channel goes into the sums over channels, in
//! sub-blocks as in `linear_attention`: the formulas are in models.md 8.3, and P and E then have a row a write, too.
//! Shapes     q [B,T,H,d_k]; k [B,T n,H,d_k]; v [B,T n,H,d_v]; o [B,T,H,d_v]; beta [B,T n,H]; g (log decay, <= 0):
//!            Scalar [B,T,H], Channel [B,T,H,d_k] (as `gk`), Constant and None no input; saved: tm [B,H,chunks,C,C] (whole, the rows of the padding are those of the identity) and
//!            states [B,H,chunks,d_k,d_v] (S at each chunk's start); d_k and d_v from 1 to 256, C 16, 32 or 64, n 1
//!            to 8, any T; a chunk that is partly filled is padded with k = 0, beta = 0, g = 0
//! Gradients  with Do = scale dO and D = dL/dS' of the chunk, in reverse order (Gam, P, G, U, Vn are computed again;
//!            `half_coop` keeps -Z of below in the place of Tm and, of Channel, P, in f16):
//!   dVn = P^T Do + diag(out) K D   dR = Tm^T dVn   dV = b dR   Y = U - G Vn   dbeta_i = dR_i . Y_i
//!   D   <- a D + Q^T diag(in) Do - K^T diag(in) dV
//!   E   = tril(Do Vn^T) * Gam                    F = -stril(dV Vn^T) * Gam
//!   X1  = diag(in) Do S^T        X2 = diag(in) dV S^T        X3 = diag(out) Vn D^T
//!   dQ  = E K + X1               dK = E^T Q + (F + F^T) K - X2 + X3
//!   M   = tril(Do Vn^T) * P - stril(dV Vn^T) * G
//!   dg_t = sum_{i>=t>j} M_ij + sum_{i>=t} (X1_i . q_i - X2_i . k_i) + sum_{j<t} X3_j . k_j + a <S, D>
//! Numerics   f32 throughout. Every decay factor is the exponential of a sum of non-positive log decays, never of a
//!            difference of prefix sums, and masked before the exponential: strong decay costs no digits. g is clamped
//!            at -1e4, a gate of exactly 0. Tm comes from forward substitution in blocks of 16 rows, joined in pairs: the
//!            product form of the inverse would overflow for correlated keys. On matrix units, products are of operands
//!            split into two f16, with a scale for every 16 of the inner dimension (`lib/tile`). In mixed precision the
//!            variant `half_coop` (`chunks/half`) keeps S in f32 accumulators and reads operands in f16; with Z = (I + G b)^-1 G,
//!            Y = U - Z b U, Vn = b Y, dR = dVn - Z^T b dVn and dV = b dR, so that dbeta needs no division. dg uses sums over
//!            rectangles of M, without cancelling cumulative sums; in `half_coop` sums of q . dQ and k . dK, whose parts inside a
//!            chunk cancel to f32, being products of the same rounded E and F (Channel: to f16, of rows rounded with their factors); where g < -20, dg, which has the factor e^g, is 0. Error against f64 1e-7 to 3e-6 for any keys and beta in [0, 2). Known limit: with (nearly) equal
//!            keys and no decay dg itself is ill-conditioned, a difference of sums that cancel: 1e-5 to 1e-4 in f32
//!            whatever the form
//! Cost       per token and head, forward 2 d_k d_v + C (2 d_k + 2 d_v) + n (4 d_k d_v + C (4 d_k + 2 d_v) + C^2 / 3)
//!            FLOPs, backward 4 d_k d_v + C (6 d_k + 4 d_v) + n (12 d_k d_v + C (8 d_k + 8 d_v)); bytes, f32:
//!            4 (d_k + d_v + 1) + 4 n (d_k + d_v + 1 + d_k d_v / C + C) and
//!            4 (2 d_k + d_v + 2) + 4 n (2 d_k + 2 d_v + 2 + 3 d_k d_v / C + C). The saved states are 4 n d_k d_v / C of
//!            them. On a GPU dV and, for n = 1, o serve as work space; the backward pass takes n (d_k d_v / C + d_v + C
//!            + 21) + C further words. `unit`: that of `l2_norm` besides.
//!            `half_coop`: where scratch passes 1 GiB both passes go through the batch by parts, each with all launches
//! Errors     d_k or d_v outside 1..=256, another chunk length, n outside 1..=8, a size of 0, B or H above 65,535,
//!            above 16,383 chunks
//! Source     Yang et al. 2024, "Parallelizing Linear Transformers with the Delta Rule over Sequence Length", section 3;
//!            Yang, Kautz, Hatamizadeh 2025, "Gated Delta Networks", section 3; Siems et al. 2025, "DeltaProduct",
//!            section 3; Kimi Team 2025, "Kimi Linear" (Channel);
//!            golden: delta_rule, gated_delta_rule, gated_delta_product, kda
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
use super::l2_norm::L2Norm;
use crate::error::UserError;
use crate::port::{OpDef, Pass, Port, ports_bytes};
use crate::tensor::Precision;

/// Chunk length that suits every device.
pub const CHUNK: usize = 64;

/// Most Householder factors a token; the smallest chunk holds two tokens then.
pub const MAX_HOUSEHOLDER: usize = 8;

/// Added to the square of a length that is brought to 1.
pub const EPS: f32 = 1e-6;

/// Chunks of a sequence: each takes up to four workgroups, one for 64 columns of a head.
const MAX_CHUNKS: usize = MAX_GRID / 4;

/// Refuses tokens of no or too many Householder factors.
pub(super) fn check_householder(op: &'static str, householder: usize) -> Result<(), UserError> {
    if (1..=MAX_HOUSEHOLDER).contains(&householder) {
        return Ok(());
    }
    let reason = format!("{householder} Householder factors a token: allowed: 1 to {MAX_HOUSEHOLDER}");
    Err(UserError::Shape { op, reason })
}

/// See the module docs.
#[derive(Debug, Clone, PartialEq)]
pub struct DeltaRule {
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
    /// n, Householder factors, and so writes, a token: from 1 (the delta rules) to [`MAX_HOUSEHOLDER`].
    pub householder: usize,
    /// C, rows of a chunk, one a write: 16, 32 or 64 ([`CHUNK`] if nothing speaks against it).
    pub chunk: usize,
    /// Whether queries and keys are brought to unit length first.
    pub unit: bool,
}

impl DeltaRule {
    /// Tokens of a chunk: all of their writes fit it.
    pub fn chunk_tokens(&self) -> usize {
        self.chunk / self.householder
    }

    /// Chunks of a sequence, the last one partly filled.
    pub fn chunks(&self) -> usize {
        self.sizes().chunks()
    }

    /// What brings so many rows a token and head of q or k to unit length.
    fn norm(&self, rows: usize) -> L2Norm {
        L2Norm {
            rows: self.b * self.t * self.h * rows,
            d: self.d_k,
            eps: EPS,
            wide: false,
        }
    }

    /// Its sizes, as the family has them.
    fn sizes(&self) -> Sizes {
        Sizes {
            b: self.b,
            t: self.t,
            h: self.h,
            d_k: self.d_k,
            d_v: self.d_v,
            chunk: self.chunk,
            tokens: self.chunk_tokens(),
        }
    }
}

impl OpDef for DeltaRule {
    const NAME: &'static str = "delta_rule";

    fn validate(&self) -> Result<(), UserError> {
        check_householder(Self::NAME, self.householder)?;
        self.sizes().check(Self::NAME, MAX_CHUNKS)
    }

    fn inputs(&self) -> Vec<Port> {
        let Self {
            b, t, h, d_k, d_v, ..
        } = *self;
        let rows = t * self.householder;
        let mut ports = vec![
            Port::activation("q", &[b, t, h, d_k]).saved(),
            Port::activation("k", &[b, rows, h, d_k]).saved(),
            Port::activation("v", &[b, rows, h, d_v]).saved(),
            Port::f32("beta", &[b, rows, h]).saved(),
        ];
        ports.extend(self.decay.port(&[b, t, h], d_k).map(Port::saved));
        ports
    }

    fn outputs(&self) -> Vec<Port> {
        let Self {
            b,
            t,
            h,
            d_k,
            d_v,
            chunk,
            ..
        } = *self;
        vec![
            Port::activation("o", &[b, t, h, d_v]),
            Port::f32("tm", &[b, h, self.chunks(), chunk, chunk])
                .fixed()
                .saved(),
            Port::f32("states", &[b, h, self.chunks(), d_k, d_v])
                .fixed()
                .saved(),
        ]
    }

    fn flops(&self, pass: Pass) -> f64 {
        let [d_k, d_v, c, n] = [self.d_k, self.d_v, self.chunk, self.householder].map(|x| x as f64);
        let token_heads = (self.b * self.t * self.h) as f64;
        let flops = match pass {
            Pass::Forward => {
                2.0 * d_k * d_v
                    + c * (2.0 * d_k + 2.0 * d_v)
                    + n * (4.0 * d_k * d_v + c * (4.0 * d_k + 2.0 * d_v) + c * c / 3.0)
            }
            Pass::Backward => {
                4.0 * d_k * d_v
                    + c * (6.0 * d_k + 4.0 * d_v)
                    + n * (12.0 * d_k * d_v + c * (8.0 * d_k + 8.0 * d_v))
            }
        };
        let norm = match self.unit {
            true => self.norm(1 + self.householder).flops(pass),
            false => 0.0,
        };
        token_heads * flops + norm
    }

    fn bytes(&self, pass: Pass, precision: Precision) -> f64 {
        ports_bytes(self, pass, precision) + self.sizes().state_gradient_bytes(pass)
    }
}

//! Mesa layer: a memory that is read through the solution of a regularised least-squares problem at every token.
//!
//! ```text
//! Maths, per head (M and N are [D, D]; a_t = exp(g_t)):
//!   M_t = a_t M_{t-1} + beta_t k_t k_t^T    N_t = a_t N_{t-1} + beta_t k_t v_t^T
//!   x_t = (M_t + diag(lambda))^-1 q_t       o_t = N_t^T x_t
//! Chunkwise, C tokens at a time: M and N are two additive linear attentions (`linear_attention`) with the written keys
//! kb = beta k and the values k and v. No M_t is formed: all x_t of a chunk are found at once by conjugate gradients,
//! preconditioned with diag(lambda), whose products are those of a chunk of linear attention (rows X, K; M the state at
//! the chunk's start; in, Gam as there):
//!   (M_t x_t)_t = diag(in) X M + tril(X K^T * Gam) diag(beta) K
//! Shapes     q, k, v, o, x [B,T,H,D]; g (log decay, <= 0), beta [B,T,H]; lambda [H,D], above 0; saved: x, and m, n
//!            [B,H,chunks,D,D] (M and N at each chunk's start); D from 1 to 256, C 16, 32 or 64, any T; a last chunk may
//!            be partly filled
//! Gradients  u_t = N_t do_t is dL/dx_t, and y_t = (M_t + diag(lambda))^-1 u_t by the same solver:
//!   dq = y      dlambda = -sum_{b,t} y * x      dL/dM_t = -x_t y_t^T, as a read-out of M with the query x and do = -y
//!            so the backward passes of the two linear attentions give grad_kb, dv, dg and the gradient of k as a value:
//!   dk = beta grad_kb + grad_value                    dbeta = k . grad_kb
//! Numerics   f32; in mixed precision v, o and the saved x are f16, q and k are not: the solve magnifies their rounding, and their
//!            gradients are mostly along them, which unit length takes out again. Decays as in `linear_attention`,
//!            cancellation-free. M_t has few large eigenvalues (it forgets, or keys are correlated) on top of
//!            diag(lambda), so that preconditioning with diag(lambda) alone keeps the others in a cluster at 1: 6 to 20
//!            steps for decays from 1/2 to none; with the diagonal of M as well it takes as many, and three times as many
//!            for correlated keys. A row stops when its residual is 2^-26 (the twin in f64: 2^-55; in mixed precision on
//!            matrix units 2^-18) of its right side, or after 4 D + 32 steps. Rounding grows with the condition number,
//!            1 + |M| / min lambda: |M| is at most max beta / (1 - a) for unit keys. dg and dbeta of long undecayed
//!            memories are differences of what goes through M and through N
//! Cost       per token and head, I steps of the solver, 12 assumed (more where decay is weak): forward 6 D^2 + 4 C D +
//!            I (2 D^2 + 4 C D + 14 D) FLOPs, backward 16 D^2 + 20 C D + the same for the solver; bytes, f32:
//!            4 (5 D + 2) + 8 D^2 / C and 4 (7 D + 4) + 24 D^2 / C. On a GPU a pass takes 4 D' + C words of scratch a
//!            token and head for the solver, D' = D rounded up to 64 (on matrix units D' (D + C) / C); the forward pass D + C for kb and scores, the
//!            backward pass 6 D + 2 C, and twice D^2 / C
//! Errors     D outside 1..=256, another chunk length, a size of 0, B or H above 65,535, above 4,095 chunks, more than
//!            2^31 - 1 words of states or scratch. That lambda is above 0 is not checked
//! Source     von Oswald et al. 2025, "MesaNet: Sequence Modeling by Locally Optimal Test-Time Training"; models.md 4.14;
//!            golden: mesa
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
use super::chunks::TILE;
use super::linear_attention::LinearAttention;
use super::rows;
use crate::error::UserError;
use crate::port::{OpDef, Pass, Port, ports_bytes};
use crate::tensor::Precision;

/// Steps of the solver that the cost assumes: decays of about 0.97.
const ASSUMED_STEPS: f64 = 12.0;

/// See the module docs. Inputs: q, k, v, g, beta, lambda.
#[derive(Debug, Clone, PartialEq)]
pub struct Mesa {
    /// Sequences.
    pub b: usize,
    /// Tokens of a sequence.
    pub t: usize,
    /// Heads.
    pub h: usize,
    /// Width of a head, of keys and of values.
    pub d: usize,
    /// Tokens of a chunk: 16, 32 or 64.
    pub chunk: usize,
}

impl Mesa {
    /// Chunks of a sequence, the last one partly filled.
    pub fn chunks(&self) -> usize {
        self.memory(1.0).chunks()
    }

    /// M or N read by queries, times `scale`: written keys, values and log decays are inputs.
    fn memory(&self, scale: f32) -> LinearAttention {
        LinearAttention {
            b: self.b,
            t: self.t,
            h: self.h,
            d_k: self.d,
            d_v: self.d,
            scale,
            decay: Decay::Scalar,
            shared_qk: false,
            chunk: self.chunk,
        }
    }

    /// Words of the solver's matrices a chunk and head, on a GPU.
    fn solver_words(&self) -> usize {
        self.chunk * (4 * self.d.next_multiple_of(TILE) + self.chunk)
    }
}

impl OpDef for Mesa {
    const NAME: &'static str = "mesa";

    fn validate(&self) -> Result<(), UserError> {
        self.memory(1.0).validate().map_err(|error| match error {
            UserError::Shape { reason, .. } => UserError::Shape {
                op: Self::NAME,
                reason,
            },
            other => other,
        })?;
        let (b, h, chunks) = (self.b, self.h, self.chunks());
        let sizes = [
            ("B", b),
            ("H", h),
            ("chunks", chunks),
            ("C (4 D + C)", self.solver_words()),
        ];
        rows::check_sizes(Self::NAME, &sizes)
    }

    fn inputs(&self) -> Vec<Port> {
        let Self { b, t, h, d, .. } = *self;
        let [rows, head_rows] = [vec![b, t, h, d], vec![b, t, h]];
        vec![
            Port::f32("q", &rows),
            Port::f32("k", &rows).saved(),
            Port::activation("v", &rows).saved(),
            Port::f32("g", &head_rows).saved(),
            Port::f32("beta", &head_rows).saved(),
            Port::f32("lambda", &[h, d]).saved(),
        ]
    }

    fn outputs(&self) -> Vec<Port> {
        let Self { b, t, h, d, .. } = *self;
        let states = [b, h, self.chunks(), d, d];
        vec![
            Port::activation("o", &[b, t, h, d]),
            Port::activation("x", &[b, t, h, d]).fixed().saved(),
            Port::f32("m", &states).fixed().saved(),
            Port::f32("n", &states).fixed().saved(),
        ]
    }

    fn flops(&self, pass: Pass) -> f64 {
        let [d, c] = [self.d, self.chunk].map(|n| n as f64);
        let solver = ASSUMED_STEPS * (2.0 * d * d + 4.0 * c * d + 14.0 * d);
        let flops = match pass {
            Pass::Forward => 6.0 * d * d + 4.0 * c * d,
            Pass::Backward => 16.0 * d * d + 20.0 * c * d,
        };
        (self.b * self.t * self.h) as f64 * (flops + solver)
    }

    fn bytes(&self, pass: Pass, precision: Precision) -> f64 {
        // Two memories.
        ports_bytes(self, pass, precision) + 2.0 * self.memory(1.0).sizes().state_gradient_bytes(pass)
    }
}

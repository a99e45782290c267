//! Causal softmax attention, in tiles: no T x T matrix is ever in memory.
//!
//! Maths, per head (scale s):
//!
//! ```text
//!   Z_ij = s q_i . k_j for j <= i     P = softmax of the rows of Z     o_i = sum_j P_ij v_j     lse_i = ln sum_j exp Z_ij
//! ```
//!
//! Online over key tiles: when the running maximum grows, the running sum and o shrink by exp(old - new).
//!
//! Shapes     q, k, v, o \[B, T, H, D\]; saved lse \[B, T, H\] f32
//! Gradients  P is recomputed from lse, on the GPU once for dq and once for dk and dv:
//!
//! ```text
//!   Del_i = dO_i . O_i     dZ = P * (dO V^T - Del)     dQ = s dZ K     dK = s dZ^T Q     dV = P^T dO
//! ```
//!
//! Numerics   scores of any size: the maximum is subtracted before exp. Sums in f32. The error of P is that of Z: its
//!            relative precision times the size of Z
//! Cost       per token and head: forward 2 T D FLOPs, 16 D + 4 bytes; backward 5 T D FLOPs, 32 D + 8 bytes
//! Errors     D outside 1 to 256: "D = 300: allowed: 1 to 256"; no time steps; a scale that is not finite
//! Source     models.md 3.1, 4.8; Dao et al., `FlashAttention` (2022), algorithms 1 and 4; golden: attention

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use super::{Cost, OpDef, Pass, Port, Reads};
use crate::error::UserError;

/// Widest head: a workgroup keeps whole output rows in registers.
pub const MAX_D: usize = 256;

/// Attention over `[b, t, h, d]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Attention {
    /// Samples.
    pub b: usize,
    /// Time steps.
    pub t: usize,
    /// Heads.
    pub h: usize,
    /// Head width of queries, keys and values.
    pub d: usize,
    /// Factor of the scores, usually d^-1/2.
    pub scale: f32,
}

impl Attention {
    fn numel(&self) -> usize {
        self.b * self.t * self.h * self.d
    }
}

impl OpDef for Attention {
    const NAME: &'static str = "attention";

    fn validate(&self) -> Result<(), UserError> {
        let refuse = |reason: String| Err(UserError::Shape { op: Self::NAME, reason });
        if !(1..=MAX_D).contains(&self.d) {
            return refuse(format!("D = {}: allowed: 1 to {MAX_D}", self.d));
        }
        if self.b == 0 || self.t == 0 || self.h == 0 {
            return refuse(format!("B, T, H = {}, {}, {}: allowed: 1 and more", self.b, self.t, self.h));
        }
        if u32::try_from(self.numel()).is_err() {
            return refuse(format!("B T H D = {}: allowed: below 2^32", self.numel()));
        }
        if !self.scale.is_finite() {
            return refuse(format!("scale = {}: allowed: finite", self.scale));
        }
        Ok(())
    }

    fn inputs(&self) -> Vec<Port> {
        let shape = [self.b, self.t, self.h, self.d];
        ["q", "k", "v"].map(|name| Port::new(name, &shape)).to_vec()
    }

    fn outputs(&self) -> Vec<Port> {
        vec![
            Port::new("o", &[self.b, self.t, self.h, self.d]),
            Port::new("lse", &[self.b, self.t, self.h]),
        ]
    }

    fn backward_reads(&self) -> Reads {
        Reads {
            ins: &[0, 1, 2],
            outs: &[0, 1],
        }
    }

    fn cost(&self, pass: Pass) -> Cost {
        let (t, d) = (self.t as f64, self.d as f64);
        let rows = (self.b * self.t * self.h) as f64;
        match pass {
            Pass::Forward => Cost {
                flops: rows * 2.0 * t * d,
                bytes: rows * (16.0 * d + 4.0),
            },
            Pass::Backward => Cost {
                flops: rows * 5.0 * t * d,
                bytes: rows * (32.0 * d + 8.0),
            },
        }
    }
}

//! Causal softmax attention, in tiles: no T x T matrix is ever in memory. Forgetting attention: log decays between key
//! and query are added to the score.
//!
//! Maths, per head (scale s):
//!
//! ```text
//!   Z_ij = s q_i . k_j for j <= i     P = softmax of the rows of Z     o_i = sum_j P_ij v_j     lse_i = ln sum_j exp Z_ij
//!   forgetting: Z_ij = s q_i . k_j + log_f_{j+1} + .. + log_f_i
//! ```
//!
//! Online over key tiles: when the running maximum grows, the running sum and o shrink by exp(old - new).
//!
//! Shapes     q, k, v, o \[B, T, H, D\]; `log_f` \[B, T, H\] f32, at most 0; saved lse \[B, T, H\] f32
//! Gradients  P is recomputed from lse, on the GPU once for dq and once for dk and dv:
//!
//! ```text
//!   Del_i = dO_i . O_i     dZ = P * (dO V^T - Del)     dQ = s dZ K     dK = s dZ^T Q     dV = P^T dO
//!   dlog_f_t = sum of dZ_ij over j < t <= i = sum over u < t of (column u - row u of dZ, both without the diagonal)
//! ```
//!
//! The last form is exact for any decay: all that is summed belongs to some rectangle j < t <= i. Suffix sums of whole
//! columns hold the diagonal too, which is no small number where the rectangles are.
//!
//! Numerics   scores of any size: the maximum is subtracted before exp. Sums in f32. The error of P is that of Z: its
//!            relative precision times the size of Z. Sums of log decays are differences of sums from the start, which
//!            are integers and small rests on the GPU and f64 in the twin: nothing cancels. A step below -4096 counts
//!            as -4096
//! Variants   see `gpu.rs`: matrix units where the adapter has them, otherwise plain f32. On matrix units operands are split
//!            into two f16 after a power of two a tensor, as `linear` does it, and P and dZ are split as they arise: errors
//!            are those of the plain kernels. Weights are 2^(Z - m) for an m that stays as long as no score passes it
//!            by 15. An infinity or a NaN in an operand makes the whole of what it enters NaN
//! Cost       per token and head: forward 2 T D FLOPs, 16 D + 4 bytes; backward 5 T D FLOPs, 32 D + 8 bytes;
//!            forgetting: forward T FLOPs and 4 bytes more, backward 2 T FLOPs and 8 bytes
//! Errors     D outside 1 to 256: "D = 300: allowed: 1 to 256"; no time steps, or above 131,072 with `forget`; a scale
//!            that is not finite
//! Source     models.md 3.1, 3.8, 4.8; Dao et al., `FlashAttention` (2022), algorithms 1 and 4; Lin et al., "Forgetting
//!            Transformer" (2025), section 3; golden: attention, `forgetting_attention`

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use crate::error::UserError;
use crate::port::{OpDef, Pass, Port};
use crate::tensor::numel;

/// Widest head: a workgroup keeps whole output rows in registers.
pub const MAX_D: usize = 256;
/// Most time steps of forgetting attention: sums of log decays are an i32 of quarters.
const MAX_FORGET_T: usize = 131_072;
/// Strongest log decay of a step; stronger ones count as this one, which no key survives either.
const MIN_LOG_F: f64 = -4096.0;

/// Attention over `[b, t, h, d]`. Inputs: q, k, v, and `log_f` if it forgets.
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
    /// Whether log decays between key and query are added to the score.
    pub forget: bool,
}

impl Attention {
    fn numel(&self) -> usize {
        numel(&[self.b, self.t, self.h, self.d])
    }
}

impl OpDef for Attention {
    const NAME: &'static str = "attention";

    fn validate(&self) -> Result<(), UserError> {
        let refuse = |reason: String| {
            Err(UserError::Shape {
                op: Self::NAME,
                reason,
            })
        };
        if !(1..=MAX_D).contains(&self.d) {
            return refuse(format!("D = {}: allowed: 1 to {MAX_D}", self.d));
        }
        if self.b == 0 || self.t == 0 || self.h == 0 {
            return refuse(format!(
                "B, T, H = {}, {}, {}: allowed: 1 and more",
                self.b, self.t, self.h
            ));
        }
        if self.forget && self.t > MAX_FORGET_T {
            return refuse(format!(
                "T = {} with decays: allowed: up to {MAX_FORGET_T}",
                self.t
            ));
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
        let mut ports = ["q", "k", "v"]
            .map(|name| Port::activation(name, &shape).saved())
            .to_vec();
        if self.forget {
            ports.push(Port::f32("log_f", &shape[..3]).saved());
        }
        ports
    }

    fn outputs(&self) -> Vec<Port> {
        vec![
            Port::activation("o", &[self.b, self.t, self.h, self.d]).saved(),
            Port::f32("lse", &[self.b, self.t, self.h]).fixed().saved(),
        ]
    }

    fn flops(&self, pass: Pass) -> f64 {
        let (t, d) = (self.t as f64, self.d as f64);
        let rows = (self.b * self.t * self.h) as f64;
        let forget = f64::from(u8::from(self.forget));
        match pass {
            Pass::Forward => rows * t * (2.0 * d + forget),
            Pass::Backward => rows * t * (5.0 * d + 2.0 * forget),
        }
    }
}

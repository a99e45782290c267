//! `attention` on one token a sequence: its key and value join those of the tokens before, which are the state.
//!
//! Maths, per head (t the position, s = scale; b is 0 without `forgets`):
//!
//! ```text
//!   K_t = k, V_t = v     b_j <- b_j + log_f for j < t, b_t = 0     o = sum_j P_j V_j, P = softmax_j<=t(s q . K_j + b_j)
//! ```
//!
//! Shapes     q, k, v, o \[B, H, D\]; position \[1\] u32: tokens before this one; `log_f` \[B, H\] (<= 0) if `forgets`; states
//!            K, V \[B, rows, H, D\] and, if `forgets`, b \[B, rows, H\]. What follows the position is never read, so a
//!            state need not be cleared for a new sequence: the host starts again at position 0
//! Gradients  none: decoding only
//! Numerics   as `attention`. b is the log of what is left of a key: a sum of non-positive terms, added up as they come,
//!            never a difference of prefix sums, so that it is as accurate for a late key as for the first.
//!            `log_f` is clamped at -1e4
//! Cost       with all rows in use, per head 4 rows D FLOPs and 8 rows D bytes (forgetting: 8 rows more). On a GPU, D + 2
//!            words of scratch a head and 128 rows
//! Errors     D outside 1 to 256, a size of 0, more than 2^31 - 1 elements of K or words of scratch; a scale that is not finite. A position
//!            past the last row is not refused: it counts as the last row
//! Source     models.md 4.8, 7; Dao et al., "Flash-Decoding" (2023); token by token the same as `attention`

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use super::attention::MAX_D;
use super::rows;
use crate::error::UserError;
use crate::port::{OpDef, Pass, Port, ports_bytes};
use crate::tensor::Precision;

/// Keys of a part: what a workgroup takes of a head, as the kernels have it.
const PART: usize = 128;

/// See the module docs. Inputs: q, k, v, position, `log_f` if `forgets`. Outputs: o and the states.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionStep {
    /// Sequences.
    pub b: usize,
    /// Heads.
    pub h: usize,
    /// Head width of queries, keys and values.
    pub d: usize,
    /// Most tokens of a sequence.
    pub rows: usize,
    /// Factor of the scores, usually d^-1/2.
    pub scale: f32,
    /// Whether keys are forgotten (the Forgetting Transformer).
    pub forgets: bool,
}

impl AttentionStep {
    /// Parts of a head's keys.
    fn parts(&self) -> usize {
        self.rows.div_ceil(PART)
    }
}

impl OpDef for AttentionStep {
    const NAME: &'static str = "attention_step";

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
        if !self.scale.is_finite() {
            return refuse(format!("scale = {}: allowed: finite", self.scale));
        }
        let sizes = [("B", self.b), ("rows", self.rows), ("H", self.h), ("D", self.d)];
        rows::check_sizes(Self::NAME, &sizes)?;
        let parts = [
            ("B", self.b),
            ("H", self.h),
            ("parts", self.parts()),
            ("D + 2", self.d + 2),
        ];
        rows::check_sizes(Self::NAME, &parts)
    }

    fn inputs(&self) -> Vec<Port> {
        let shape = [self.b, self.h, self.d];
        let mut ports = ["q", "k", "v"]
            .map(|name| Port::activation(name, &shape).fixed())
            .to_vec();
        ports.push(Port::index("position", &[1]));
        if self.forgets {
            ports.push(Port::f32("log_f", &[self.b, self.h]).fixed());
        }
        ports
    }

    fn outputs(&self) -> Vec<Port> {
        let cache = [self.b, self.rows, self.h, self.d];
        let mut ports = vec![
            Port::activation("o", &[self.b, self.h, self.d]),
            Port::state("keys", &cache),
            Port::state("values", &cache),
        ];
        if self.forgets {
            ports.push(Port::state("bias", &cache[..3]));
        }
        ports
    }

    fn flops(&self, _pass: Pass) -> f64 {
        let [heads, rows, d] = [self.b * self.h, self.rows, self.d].map(|x| x as f64);
        heads * 4.0 * rows * d
    }

    fn bytes(&self, pass: Pass, precision: Precision) -> f64 {
        // Of the caches all rows are read, and one is written.
        let [heads, rows, d] = [self.b * self.h, self.rows, self.d].map(|x| x as f64);
        let bias = if self.forgets { 1.0 } else { 0.0 };
        let states = 4.0 * heads * rows * (2.0 * d + bias);
        ports_bytes(self, pass, precision) - states + 8.0 * heads * d
    }
}

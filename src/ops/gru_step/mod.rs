//! The cell of `gru` on one token a sequence: h lives on between the runs.
//!
//! ```text
//! Maths      r = sigma(x_r + s_r), z = sigma(x_z + s_z), m = tanh(x_m + r s_m), h <- (1 - z) m + z h; x is a row of xg, s
//!            one of hg, whose thirds are r, z, m
//! Shapes     xg, hg [B,3d]; h_out, which is the new h, and the state h [B,d]
//! Inputs     xg is W u + b_ih, hg is U h + b_hh of the state before the call, both by `linear`: declare the state with
//!            Graph::state, so that `linear` reads it, and give it to Graph::call_into
//! Gradients  none: decoding only
//! Numerics   f32 throughout; 1 - z by an exponential of its own
//! Cost       12 B d FLOPs, 36 B d bytes
//! Errors     a size of 0, more than 2^31 - 1 elements of xg
//! Source     Cho et al. 2014, in the form of cuDNN; models.md 3.8, 7; token by token, with `linear`, the same as `gru`
//! ```

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use super::gru::Gru;
use super::rows;
use crate::error::UserError;
use crate::port::{OpDef, Pass, Port};

/// See the module docs. Inputs: xg, hg. Outputs: `h_out` and the state h.
#[derive(Debug, Clone, PartialEq)]
pub struct GruStep {
    /// Sequences.
    pub b: usize,
    /// Channels.
    pub d: usize,
}

impl From<&Gru> for GruStep {
    /// A token of the recurrence over whole sequences.
    fn from(whole: &Gru) -> Self {
        Self {
            b: whole.b,
            d: whole.d,
        }
    }
}

impl OpDef for GruStep {
    const NAME: &'static str = "gru_step";

    fn validate(&self) -> Result<(), UserError> {
        rows::check_sizes(Self::NAME, &[("gates", 3), ("b", self.b), ("d", self.d)])
    }

    fn inputs(&self) -> Vec<Port> {
        let gates = [self.b, 3 * self.d];
        vec![
            Port::activation("xg", &gates).fixed(),
            Port::activation("hg", &gates).fixed(),
        ]
    }

    fn outputs(&self) -> Vec<Port> {
        let shape = [self.b, self.d];
        vec![Port::activation("h_out", &shape), Port::state("h", &shape)]
    }

    fn flops(&self, _pass: Pass) -> f64 {
        12.0 * (self.b * self.d) as f64
    }
}

//! Masked cross entropy over rows of logits.
//!
//! Maths      `lse_r` = ln `sum_c` `exp(z_rc)`; loss = w `sum_r` (`lse_r` - `z_r,label`) over rows with a label,
//!            w = `step.inv_tokens` = 1 / labelled rows of the whole batch
//! Shapes     z (logits) \[rows, K\]; labels \[rows\] u32, `IGNORE` (any value >= K) masks a row; loss \[1\];
//!            saved: lse \[rows\], nll \[rows\] (0 where masked)
//! Gradients  `dz_rc` = dloss w (`exp(z_rc` - `lse_r`) - \[c = `label_r`\]), exactly 0 in masked rows
//! Numerics   f32, the row's maximum subtracted first; no labelled rows: loss 0 and gradient 0
//! Cost       forward 4 rows K FLOPs, 4 rows K bytes; backward 4 rows K FLOPs, 8 rows K bytes
//! Source     models.md 4.11; golden `masked_ce`

pub mod cases;
pub(crate) mod cpu;
#[cfg(feature = "gpu")]
pub(crate) mod gpu;
#[cfg(test)]
mod tests;

use crate::error::UserError;
use crate::ops::rows;
use crate::port::{OpDef, Pass, Port};

/// Label of a masked row.
pub const IGNORE: u32 = u32::MAX;

/// See the module docs.
#[derive(Debug, Clone, PartialEq)]
pub struct CrossEntropy {
    /// Rows of logits.
    pub rows: usize,
    /// K.
    pub classes: usize,
}

impl OpDef for CrossEntropy {
    const NAME: &'static str = "cross_entropy";

    fn validate(&self) -> Result<(), UserError> {
        rows::check_sizes(Self::NAME, &[("rows", self.rows), ("classes", self.classes)])
    }

    fn inputs(&self) -> Vec<Port> {
        vec![
            Port::activation("logits", &[self.rows, self.classes]).saved(),
            Port::index("labels", &[self.rows]).saved(),
        ]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![
            Port::f32("loss", &[1]),
            Port::f32("lse", &[self.rows]).fixed().saved(),
            Port::f32("nll", &[self.rows]).fixed(),
        ]
    }

    fn flops(&self, _pass: Pass) -> f64 {
        4.0 * (self.rows * self.classes) as f64
    }
}

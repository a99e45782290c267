//! Dense layer: every projection, the encoder, the feed-forward layers and the head.
//!
//! Maths      y = x W^T + b
//! Shapes     x \[rows, inp\], w \[out, inp\], b \[out\] (only with `bias`); y \[rows, out\]
//! Gradients  dx = dy W; dW = dy^T x; db = column sums of dy. Saved: nothing but x and w. dx adds where x has several
//!            readers; dW and db add to the gradient bank
//! Numerics   plain kernels: an f32 sum over k in order, error about 1e-6 at k = 4096. Matrix units: each operand times
//!            a power of two (its largest magnitude lands in \[2^14, 2^15)) is split into two f16, x = hi + lo, and
//!            hi hi + hi lo + lo hi is summed: error about 4e-7. The matrix unit truncates its f32 sums (1.8e-8 for
//!            every product of 16), so each 128 of k get fresh accumulators, added up by ordinary f32 additions. One scale a
//!            tensor costs nothing down to nine decades below the largest magnitude. If an operand holds an infinity
//!            or a NaN, matrix units give NaN in the whole product, the plain kernels where it belongs
//!            In mixed precision x and w are f16 already: single products on matrix units with sums in f32, or f32 math
//!            on the same values where there are none
//! Variants   see `gpu.rs`: matrix units where the adapter has them and the product fills their tiles, otherwise plain
//!            f32 with tiles of 128, 64 or 32. dW is cut along the rows into parts that are summed in a second kernel, in
//!            a fixed order
//! Cost       forward 2 rows inp out FLOPs (+ rows out with bias), 4 (rows inp + inp out + rows out) bytes; backward
//!            twice the products, and each of its three operands is read and each gradient written once
//! Errors     a size of 0; a matrix with 2^32 elements or more; more than 2^20 rows or columns of a matrix
//! Source     models.md 1, 2; golden: the model fixtures

pub mod cases;
pub(crate) mod cpu;
#[cfg(feature = "gpu")]
pub(crate) mod gpu;
#[cfg(test)]
mod tests;

use crate::error::UserError;
use crate::port::{InputGrad, OpDef, Pass, Port};

/// `y = x w^T + b`.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// Rows of x and y: samples times time steps.
    pub rows: usize,
    /// Inputs of the layer.
    pub inp: usize,
    /// Outputs of the layer.
    pub out: usize,
    /// Whether there is a `b`.
    pub bias: bool,
}

/// Largest extent: grids have at most 65,535 workgroups a dimension, each at least 32 rows or columns.
const MAX_EXTENT: usize = 1 << 20;

impl OpDef for Linear {
    const NAME: &'static str = "linear";

    fn validate(&self) -> Result<(), UserError> {
        let sizes = [self.rows, self.inp, self.out];
        let extents = sizes.iter().all(|n| (1..=MAX_EXTENT).contains(n));
        let largest = self.rows.max(self.inp.min(self.out)) * self.inp.max(self.out);
        if extents && u32::try_from(largest).is_ok() {
            return Ok(());
        }
        Err(UserError::Shape {
            op: Self::NAME,
            reason: format!(
                "rows {}, inputs {}, outputs {}: allowed: 1 to {MAX_EXTENT} each, less than 2^32 elements a matrix",
                self.rows, self.inp, self.out
            ),
        })
    }

    fn inputs(&self) -> Vec<Port> {
        let mut ports = vec![
            Port::activation("x", &[self.rows, self.inp])
                .grad(InputGrad::Accumulates)
                .saved(),
            Port::weight("w", &[self.out, self.inp]).saved(),
        ];
        if self.bias {
            ports.push(Port::f32("b", &[self.out]));
        }
        ports
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::activation("y", &[self.rows, self.out])]
    }

    fn flops(&self, pass: Pass) -> f64 {
        let y = (self.rows * self.out) as f64;
        let product = 2.0 * y * self.inp as f64;
        let bias = if self.bias { y } else { 0.0 };
        match pass {
            Pass::Forward => product + bias,
            Pass::Backward => 2.0 * product + bias,
        }
    }
}

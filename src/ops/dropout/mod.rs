//! Dropout into a residual stream.
//!
//! Maths      y = residual + mask x / (1 - p); without dropout (`step.dropout_on` 0) y = residual + x
//! Shapes     residual, x, y \[rows, d\]
//! Gradients  dresidual = dy (the same tensor); dx = mask dy / (1 - p), the mask drawn again
//! Mask       Philox4x32-10 with key (`step.seed`, [`DROPOUT_KEY`]) and counter (column / 4,
//!            `step.first_row` + row, `step.step`, tag); word column mod 4 decides, kept if it is at least the threshold
//!            round(2^32 p). So it is the same on every device, in both passes and for every micro-batch split; one
//!            counter serves a tensor as long as its tag is its own in the model
//! Numerics   one multiplication and one addition an element
//! Variants   `int64`: high halves of the generator's products from 64-bit integers, the same bits; `plain`: from halves
//! Cost       forward 2 n FLOPs, 12 n bytes; backward n FLOPs, 8 n bytes; n = rows d. The generator's integer
//!            operations, about 60 an element, are not counted
//! Errors     rows or d 0, more than 2^31 - 1 elements, p outside \[0, 1)
//! Source     models.md 2, 5; no golden file: tests of the mask

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use super::rows;
use crate::error::UserError;
use crate::philox::{DROPOUT_KEY, philox4x32_lanes};
use crate::port::{InputGrad, OpDef, Pass, Port};
use crate::step::StepParams;

/// `y = residual + dropout(x)`. Inputs: residual, x.
#[derive(Debug, Clone, PartialEq)]
pub struct Dropout {
    /// Rows: B T.
    pub rows: usize,
    /// Their width.
    pub d: usize,
    /// Share of elements that are dropped.
    pub p: f32,
    /// Number of this dropout in its model: masks with different tags are independent.
    pub tag: u32,
}

impl Dropout {
    /// Words below it drop their element.
    pub(crate) fn threshold(&self) -> u32 {
        // p < 1 leaves at least 2^8 words above: an f32 below 1 is at most 1 - 2^-24.
        (f64::from(self.p) * 4_294_967_296.0).round() as u32
    }

    /// Factor of what is kept.
    pub(crate) fn scale(&self) -> f64 {
        1.0 / (1.0 - f64::from(self.p))
    }

    /// Which of the columns 4 `group` .. of a row are kept while dropout is on.
    pub(crate) fn keeps(&self, step: &StepParams, row: usize, group: usize) -> [bool; 4] {
        let [keeps] = self.keeps_of(step, row, group);
        keeps
    }

    /// The same for `L` groups from `group` on.
    #[inline(always)]
    pub(crate) fn keeps_of<const L: usize>(
        &self,
        step: &StepParams,
        row: usize,
        group: usize,
    ) -> [[bool; 4]; L] {
        let row = step.first_row.wrapping_add(row as u32);
        let groups = std::array::from_fn(|l| (group + l) as u32);
        let counters = [groups, [row; L], [step.step; L], [self.tag; L]];
        let words = philox4x32_lanes(counters, [step.seed, DROPOUT_KEY]);
        let threshold = self.threshold();
        std::array::from_fn(|l| words.map(|word| word[l] >= threshold))
    }
}

impl OpDef for Dropout {
    const NAME: &'static str = "dropout";

    fn validate(&self) -> Result<(), UserError> {
        rows::check_sizes(Self::NAME, &[("rows", self.rows), ("d", self.d)])?;
        if (0.0..1.0).contains(&self.p) {
            return Ok(());
        }
        Err(UserError::Shape {
            op: Self::NAME,
            reason: format!("p is {}: 0 <= p < 1", self.p),
        })
    }

    fn inputs(&self) -> Vec<Port> {
        let shape = [self.rows, self.d];
        vec![
            Port::activation("residual", &shape).grad(InputGrad::Passes),
            Port::activation("x", &shape),
        ]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::activation("y", &[self.rows, self.d])]
    }

    fn flops(&self, pass: Pass) -> f64 {
        let n = (self.rows * self.d) as f64;
        match pass {
            Pass::Forward => 2.0 * n,
            Pass::Backward => n,
        }
    }
}

//! What changes from one training step to the next: the one small uniform that every kernel may read.

use bytemuck::{Pod, Zeroable};

/// Mirrors `Step` in `shaders/lib/step.wgsl`, field for field.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
pub struct StepParams {
    /// Key of the dropout masks.
    pub seed: u32,
    /// Update index s = 0, 1, ..: a counter of the dropout masks.
    pub step: u32,
    /// First row (sample x time) of this micro-batch in its batch: masks do not depend on micro-batches.
    pub first_row: u32,
    /// 1 while dropout is active.
    pub dropout_on: u32,
    /// 1 / unmasked positions of the whole batch (0 if there are none): the loss is their mean.
    pub inv_tokens: f32,
    /// Learning rate over the bias correction of the first moment: lr / (1 - 0.9^k).
    pub step_size: f32,
    /// 1 / sqrt(1 - 0.999^k), k = s + 1.
    pub inv_sqrt_bias2: f32,
    /// Largest global gradient norm; larger gradients are scaled down to it.
    pub clip: f32,
}

impl StepParams {
    /// No dropout, mean over `tokens` positions: evaluation and tests.
    pub fn eval(tokens: usize) -> Self {
        let inv_tokens = if tokens == 0 { 0.0 } else { 1.0 / tokens as f32 };
        Self {
            inv_tokens,
            ..Self::zeroed()
        }
    }

    /// With dropout on, from row `first_row` of a batch on: for cases of what drops.
    pub(crate) fn dropping(seed: u32, step: u32, first_row: u32) -> Self {
        Self {
            seed,
            step,
            first_row,
            dropout_on: 1,
            ..Self::eval(1)
        }
    }
}

//! Hostile shapes and values of the op, for its tests and for `check`.

use super::Sigmoid;
use crate::check::random::Fill;
use crate::check::{Case, Golden};
use crate::error::Result;
use crate::tensor::TensorId;

/// Sizes around the workgroup, and arguments where the logistic saturates.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (numel, scale) in [(1, 1.0), (255, 2.0), (257, 1.0), (70_000, 2.0)] {
        let x = Fill::new(numel as u64).uniform(numel, -6.0, 6.0);
        cases.push(Case::new(format!("n{numel}"), Sigmoid { numel, scale }, vec![x.into()]));
    }
    let x = vec![-1e4, -90.0, -20.0, 0.0, 20.0, 90.0, 1e4];
    cases.push(Case::new("saturated", Sigmoid { numel: 7, scale: 1.0 }, vec![x.into()]));
    cases
}

/// The model fixtures hold it.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}

//! Hostile shapes and values of the op, for its tests and for `check`.

use super::Cast;
use crate::cases::bench::{Bench, Family, Scale};
use crate::cases::{Case, Fill, Golden};
use crate::error::Result;
use crate::tensor::TensorId;

/// Whole quads and tails.
pub fn cases() -> Vec<Case> {
    [1, 4, 70, 4096, 100_003]
        .into_iter()
        .map(|numel| {
            let x = Fill::new(numel as u64).normal(numel);
            let mut case = Case::new(format!("{numel}"), Cast { numel }, vec![x.into()]);
            case.outputs = 1;
            case
        })
        .collect()
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let numel = scale.params();
    vec![Bench::new(Family::Elementwise, numel.to_string(), Cast { numel })]
}

/// No golden file.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}

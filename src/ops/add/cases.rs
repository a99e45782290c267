//! The op has no gradients of its own: the tests of every op with several readers run it.

use super::Add;
use crate::cases::bench::{Bench, D, Family, Scale};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::tensor::TensorId;

/// None: see the module docs.
pub fn cases() -> Vec<Case> {
    Vec::new()
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let numel = scale.rows() * D;
    vec![Bench::new(Family::Elementwise, numel.to_string(), Add { numel })]
}

/// No golden file.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}

//! The op updates banks in place, which a case cannot hold: `tests.rs` and the golden run it through the banks.

use super::GradNorm;
use crate::cases::bench::{Bench, Family, Scale};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::tensor::TensorId;

/// None: see the module docs.
pub fn cases() -> Vec<Case> {
    Vec::new()
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let n = scale.params();
    let op = GradNorm { n, scaled: false };
    vec![Bench::new(Family::Elementwise, n.to_string(), op)]
}

/// `adam_clip_schedule` is several steps long: `check::golden` runs it as a whole.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}

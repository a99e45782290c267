//! Hostile shapes of the op, for its tests and for `check`.

use super::Repeat;
use crate::cases::Fill;
use crate::cases::bench::{Bench, D, Family, Scale};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::tensor::TensorId;

/// Widths around the workgroup, more rows than partial sums can have one each.
pub fn cases() -> Vec<Case> {
    [(1, 1), (3, 4), (65, 257), (9000, 33), (2, 1296)]
        .map(|(rows, d)| {
            let x = Fill::new((rows * d) as u64).normal(d);
            Case::new(format!("rows{rows} d{d}"), Repeat { rows, d }, vec![x.into()])
        })
        .to_vec()
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let (rows, d) = (scale.rows(), D);
    vec![Bench::new(
        Family::Elementwise,
        format!("{rows}x{d}"),
        Repeat { rows, d },
    )]
}

/// No golden entry is about it alone.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}

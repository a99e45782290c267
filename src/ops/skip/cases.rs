//! Hostile shapes of the op, for its tests and for `check`.

use super::Skip;
use crate::cases::Fill;
use crate::cases::bench::{Bench, D_K, Family, HEADS, Scale};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::tensor::TensorId;

/// Widths around a row's threads, head counts around the workgroup.
pub fn cases() -> Vec<Case> {
    let sizes = [
        (1, 1, 1),
        (3, 2, 4),
        (65, 3, 18),
        (17, 40, 33),
        (5, 257, 2),
        (3, 2, 600),
    ];
    sizes
        .map(|(rows, h, p)| {
            let n = rows * h * p;
            let mut fill = Fill::new(n as u64);
            let inputs = vec![
                fill.normal(n).into(),
                fill.normal(n).into(),
                fill.normal(h).into(),
            ];
            Case::new(format!("rows{rows} h{h} p{p}"), Skip { rows, h, p }, inputs)
        })
        .to_vec()
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let (rows, h, p) = (scale.rows(), 2 * HEADS, D_K);
    let shape = format!("{rows}x{h} {p}");
    vec![Bench::new(Family::Elementwise, shape, Skip { rows, h, p })]
}

/// `ssm_gate` builds the golden entry that it is a part of.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}

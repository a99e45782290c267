//! Hostile shapes of the op, for its tests and for `check`.

use super::Slice;
use crate::cases::Fill;
use crate::cases::bench::{Bench, D, Family, Scale};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::tensor::TensorId;

/// Single columns, both ends of the row, whole rows, sizes around the workgroup.
pub fn cases() -> Vec<Case> {
    [
        (1, 1, 0, 1),
        (3, 7, 6, 1),
        (5, 7, 0, 3),
        (17, 209, 81, 64),
        (33, 16, 0, 16),
        (1, 600, 77, 512),
        (520, 10, 5, 5),
    ]
    .map(|(rows, width, from, len)| {
        let x = Fill::new((rows * width) as u64).normal(rows * width);
        let op = Slice {
            rows,
            width,
            from,
            len,
        };
        let name = format!("R{rows} {from}..{} of {width}", from + len);
        Case::new(name, op, vec![x.into()])
    })
    .to_vec()
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let (rows, width, from) = (scale.rows(), 4 * D, 2 * D);
    let op = Slice {
        rows,
        width,
        from,
        len: from,
    };
    let shape = format!("{rows}x{from} of {width}");
    vec![Bench::new(Family::Elementwise, shape, op)]
}

/// The model fixtures hold it.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}

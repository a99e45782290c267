//! Hostile shapes and values of the op, for its tests and for `check`.

use super::Glu;
use crate::cases::Fill;
use crate::cases::bench::{Bench, D, Family, Scale};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::tensor::TensorId;

/// Sizes around the workgroup, both tails of the logistic, gates that are shut.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (rows, d) in [(1, 1), (500, 1), (63, 3), (65, 4), (9, 81), (3, 1000)] {
        cases.push(case("", rows, d, |x| x));
    }
    cases.push(case(" saturated", 7, 81, |x| 40.0 * x));
    cases.push(case(" upper tail", 7, 81, |x| 18.0 + x.abs()));
    cases.push(case(" lower tail", 7, 81, |x| -18.0 - x.abs()));
    cases.push(case(" huge", 7, 81, |x| 1e15 * x));
    cases
}

/// `gate` makes the second half from normal numbers.
fn case(name: &str, rows: usize, d: usize, gate: impl Fn(f32) -> f32) -> Case {
    let mut x = Fill::new((rows * d) as u64).normal(rows * 2 * d);
    for row in x.chunks_mut(2 * d) {
        row[d..].iter_mut().for_each(|b| *b = gate(*b));
    }
    Case::new(format!("rows{rows} d{d}{name}"), Glu { rows, d }, vec![x.into()])
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let (rows, d) = (scale.rows(), D);
    vec![Bench::new(
        Family::Elementwise,
        format!("{rows}x{d}"),
        Glu { rows, d },
    )]
}

/// The golden model `s4` holds it.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}

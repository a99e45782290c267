//! Hostile shapes of the op, for its tests and for `check`.

use super::Scale;
use crate::cases::Fill;
use crate::cases::bench::{self, Bench, D_K, Family, HEADS};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::tensor::TensorId;

/// Widths around a row's threads, a channel a row, a factor of nothing.
pub fn cases() -> Vec<Case> {
    let sizes = [
        (1, 1),
        (3, 4),
        (195, 18),
        (70_001, 1),
        (680, 33),
        (5, 257),
        (6, 600),
    ];
    sizes
        .map(|(rows, p)| {
            let mut fill = Fill::new((rows * p) as u64);
            let x = fill.normal(rows * p);
            let mut s = fill.uniform(rows, -0.5, 2.0);
            s[rows / 2] = 0.0;
            Case::new(
                format!("rows{rows} p{p}"),
                Scale::activations(rows, p),
                vec![x.into(), s.into()],
            )
        })
        .to_vec()
}

/// What is timed.
pub fn benches(scale: bench::Scale) -> Vec<Bench> {
    let (rows, p) = (scale.rows() * HEADS, 2 * D_K);
    vec![Bench::new(
        Family::Elementwise,
        format!("{rows}x{p}"),
        Scale::activations(rows, p),
    )]
}

/// No golden entry is about it alone.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}

//! Sizes of the op, for its tests and for `check`.

use super::{Content, Fill};
use crate::cases::bench::{Bench, Family, HEADS, Scale};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::tensor::TensorId;

/// Sizes around the workgroup; more heads than 1 - 2^(-5-h) can tell from 1.
pub fn cases() -> Vec<Case> {
    let contents = [
        (1, Content::Constant(1.0)),
        (257, Content::Constant(-0.5)),
        (70_000, Content::Constant(1.0)),
        (30, Content::Retention(3)),
        (400, Content::Retention(40)),
    ];
    contents
        .map(|(numel, content)| {
            let name = format!("n{numel} {content:?}");
            Case::new(name, Fill { numel, content }, Vec::new())
        })
        .to_vec()
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let op = Fill {
        numel: scale.rows() * HEADS,
        content: Content::Retention(HEADS),
    };
    vec![Bench::new(Family::Elementwise, op.numel.to_string(), op)]
}

/// No golden entry is about it alone.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}

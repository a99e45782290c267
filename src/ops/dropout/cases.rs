//! Hostile shapes and values of the op, for its tests and for `check`.

use super::Dropout;
use crate::cases::Fill;
use crate::cases::bench::{Bench, D, Family, Scale};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::step::StepParams;
use crate::tensor::TensorId;

/// Widths around a counter's four columns, counters at the ends of their range, no dropout.
pub fn cases() -> Vec<Case> {
    let on = StepParams::dropping;
    let op = |rows, d, p, tag| Dropout { rows, d, p, tag };
    vec![
        case("", op(64, 1, 0.5, 0), on(1, 0, 0)),
        case("", op(63, 3, 0.2, 1), on(2, 77, 64)).self_test(),
        case("", op(500, 4, 0.2, 2), on(3, 1, 25_600)),
        case("", op(33, 81, 0.2, 3), on(4, 3124, 5)),
        case("", op(5, 1000, 0.9, 4), on(5, 2, 0)),
        case("", op(3, 2592, 0.2, 5), on(6, 3, 1)),
        case(
            " last counters",
            op(65, 60, 0.2, u32::MAX),
            on(u32::MAX, u32::MAX, u32::MAX - 7),
        )
        .self_test(),
        case(" p 0", op(7, 60, 0.0, 8), on(7, 4, 0)),
        case(
            " off",
            op(65, 81, 0.2, 9),
            StepParams {
                seed: 8,
                ..StepParams::eval(1)
            },
        ),
    ]
}

fn case(name: &str, op: Dropout, step: StepParams) -> Case {
    let n = op.rows * op.d;
    let mut fill = Fill::new(n as u64);
    let name = format!("rows{} d{} p{}{name}", op.rows, op.d, op.p);
    let inputs = vec![fill.normal(n).into(), fill.normal(n).into()];
    Case {
        step,
        ..Case::new(name, op, inputs)
    }
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let (rows, d) = (scale.rows(), D);
    let op = Dropout {
        rows,
        d,
        p: 0.2,
        tag: 0,
    };
    vec![Bench::new(Family::Elementwise, format!("{rows}x{d}"), op)]
}

/// No golden file: masks of other generators differ.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}

//! Hostile shapes and values of the op, for its tests and for `check`.

use super::GeluDropout;
use crate::cases::Fill;
use crate::cases::bench::{Bench, D, Extents, Family, Scale};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::step::StepParams;
use crate::tensor::TensorId;

/// Widths around a counter's four channels, one step, the lower tail, counters at the ends of their range, no dropout.
pub fn cases() -> Vec<Case> {
    let on = StepParams::dropping;
    let off = StepParams::eval(1);
    let op = |b, t, d, p, tag| GeluDropout { b, t, d, p, tag };
    vec![
        case("", op(1, 1, 1, 0.5, 0), on(1, 0, 0), |x| x),
        case("", op(5, 13, 3, 0.2, 1), on(2, 77, 65), |x| x),
        case("", op(3, 33, 81, 0.2, 2), on(3, 3124, 25_600), |x| 3.0 * x),
        case(
            " last counters",
            op(9, 2, 60, 0.9, u32::MAX),
            on(u32::MAX, u32::MAX, u32::MAX - 7),
            |x| x,
        )
        .self_test(),
        case(" p 0", op(2, 7, 60, 0.0, 8), on(7, 4, 0), |x| x),
        case(" off", op(2, 300, 7, 0.2, 9), off, |x| 3.0 * x),
        case(" lower tail", op(2, 7, 81, 0.2, 9), off, |x| -3.5 - 0.5 * x.abs()),
        case(" small", op(2, 7, 81, 0.2, 9), off, |x| 1e-3 * x),
        case(" huge", op(2, 7, 81, 0.2, 9), off, |x| 1e15 * x),
    ]
}

fn case(name: &str, op: GeluDropout, step: StepParams, value: impl Fn(f32) -> f32) -> Case {
    let n = op.b * op.t * op.d;
    let x: Vec<f32> = Fill::new(n as u64).normal(n).into_iter().map(value).collect();
    let name = format!("B{} T{} d{} p{}{name}", op.b, op.t, op.d, op.p);
    Case {
        step,
        ..Case::new(name, op, vec![x.into()])
    }
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let Extents { b, t, .. } = scale.paper();
    let op = GeluDropout {
        b,
        t,
        d: D,
        p: 0.2,
        tag: 0,
    };
    vec![Bench::new(Family::Elementwise, format!("B{b} T{t} {D}"), op)]
}

/// The golden model `s4` holds it.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}

//! Hostile shapes and values of the op, for its tests and for `check`.

use super::{ConvStep, PAST, WIDTH};
use crate::cases::Fill;
use crate::cases::bench::{Bench, D, Family, Scale};
use crate::cases::{Case, Golden, Values};
use crate::error::Result;
use crate::tensor::TensorId;

/// Channels around the workgroup, saturation, the first token of a sequence.
pub fn cases() -> Vec<Case> {
    let op = |b, channels, bias| ConvStep { b, channels, bias };
    vec![
        case("", op(1, 1, false), 1.0, 1.0),
        case("", op(2, 60, true), 1.0, 1.0),
        case("", op(1, 257, false), 1.0, 1.0),
        case("", op(3, 81, true), 1.0, 1.0),
        case("", op(3, 1024, true), 1.0, 1.0),
        case(" first token", op(2, 5, true), 1.0, 0.0),
        case(" saturated", op(2, 9, true), 1e4, 1e4),
        case(" huge", op(2, 9, true), 1e15, 1e15),
        case(" zero", op(2, 9, false), 0.0, 0.0),
    ]
}

fn case(name: &str, op: ConvStep, scale: f32, past: f32) -> Case {
    let n = op.b * op.channels;
    let mut fill = Fill::new(n as u64);
    let mut scaled =
        |n: usize, scale: f32| -> Vec<f32> { fill.normal(n).iter().map(|x| x * scale).collect() };
    let mut inputs: Vec<Values> = vec![scaled(n, scale).into(), scaled(op.channels * WIDTH, 1.0).into()];
    if op.bias {
        inputs.push(scaled(op.channels, 1.0).into());
    }
    inputs.push(scaled(n * PAST, past).into());
    let name = format!("B{} C{} bias {}{name}", op.b, op.channels, op.bias);
    Case::new(name, op, inputs)
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let (b, channels) = (scale.paper().b, 2 * D);
    let op = ConvStep {
        b,
        channels,
        bias: false,
    };
    vec![Bench::token(Family::Elementwise, format!("B{b} {channels}"), op)]
}

/// None: `short_conv` has them, and the tests run both.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}

//! Hostile shapes and values of the op, for its tests and for `check`.

use super::S4dStep;
use crate::cases::Fill;
use crate::cases::bench::{Bench, D, Family, Scale};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::ops::s4d_scan::cases::{HOSTILE, USUAL, Values, parameters};
use crate::tensor::TensorId;

/// Any number of channels and states, the first token, positions where states get something back, states much larger than
/// what is written, hostile parameters.
pub fn cases() -> Vec<Case> {
    let op = |b, channels, states| S4dStep { b, channels, states };
    let mut cases: Vec<Case> = [
        (1, 1, 1),
        (2, 3, 3),
        (3, 70, 8),
        (1, 33, 32),
        (2, 9, 50),
        (1, 65, 64),
        (2, 33, 128),
        (40, 3, 13),
    ]
    .map(|(b, channels, states)| case("", op(b, channels, states), USUAL, 1.0, 5))
    .to_vec();
    cases.push(case(" first token", op(2, 5, 6), USUAL, 0.0, 0));
    cases.push(case(" large states", op(2, 5, 6), USUAL, 1e4, 8));
    cases.push(case(" eighth token", op(2, 33, 128), USUAL, 1.0, 7));
    cases.extend(HOSTILE.map(|(name, values)| case(name, op(2, 5, 6), values, 1.0, 4095)));
    cases
}

/// `past` is the scale of the state.
fn case(name: &str, op: S4dStep, values: Values, past: f32, position: u32) -> Case {
    let S4dStep {
        b,
        channels: d,
        states: n,
    } = op;
    let mut fill = Fill::new((b * d + n) as u64);
    let mut inputs = vec![fill.normal(b * d).into()];
    inputs.extend(parameters(&mut fill, d, n, values).map(Into::into));
    inputs.push(vec![position].into());
    let state: Vec<f32> = fill.normal(2 * b * d * n).iter().map(|x| past * x).collect();
    inputs.push(state.into());
    Case::new(format!("B{b} d{d} N/2 {n}{name}"), op, inputs)
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let (b, channels) = (scale.paper().b, D);
    let op = S4dStep {
        b,
        channels,
        states: 64,
    };
    let shape = format!("B{b} {channels} 64 complex");
    vec![Bench::token(Family::Recurrences, shape, op)]
}

/// None: the golden model `s4` holds `s4d_scan`, and the tests run both.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}

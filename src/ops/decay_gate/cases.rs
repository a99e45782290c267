//! Hostile shapes and values of the op, for its tests and for `check`.

use super::DecayGate;
use crate::cases::Fill;
use crate::cases::bench::{Bench, Family, HEADS, Scale};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::tensor::TensorId;

/// Head counts around the workgroup, more rows than partial sums can have one each, both tails of softplus, no decay.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (rows, h) in [
        (1, 1),
        (500, 1),
        (65, 3),
        (64, 4),
        (63, 16),
        (33, 60),
        (5, 257),
        (9000, 33),
    ] {
        cases.push(case("", rows, h, 1.0, 0.0));
    }
    cases.push(case(" lower tail", 65, 8, 1.0, -14.0));
    cases.push(case(" upper tail", 65, 8, 1.0, 50.0));
    cases.push(case(" saturated", 65, 8, 200.0, 0.0));
    cases
}

/// `A_log` at the ends of its initial range and, for every third head, a decay of nothing.
fn case(name: &str, rows: usize, h: usize, scale: f32, shift: f32) -> Case {
    let mut fill = Fill::new((rows * h) as u64);
    let y: Vec<f32> = fill.normal(rows * h).iter().map(|y| y * scale + shift).collect();
    let a_log: Vec<f32> = (0..h).map(|i| [2.77, -1.0, -60.0][i % 3]).collect();
    let dt_bias = fill.uniform(h, -7.0, -2.0);
    let inputs = vec![y.into(), a_log.into(), dt_bias.into()];
    Case::new(format!("rows{rows} h{h}{name}"), DecayGate { rows, h }, inputs)
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let (rows, h) = (scale.rows(), HEADS);
    vec![Bench::new(
        Family::Elementwise,
        format!("{rows}x{h}"),
        DecayGate { rows, h },
    )]
}

/// The model fixtures hold it.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}

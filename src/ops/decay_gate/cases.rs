//! Hostile shapes and values of the op, for its tests and for `check`.

use super::DecayGate;
use crate::cases::Fill;
use crate::cases::bench::{Bench, Family, HEADS, Scale};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::tensor::TensorId;

/// Head counts around the workgroup, with and without write strengths, more rows than partial sums can have one each, both tails of
/// softplus, no decay.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for sizes in [
        [1, 1, 0],
        [65, 3, 0],
        [63, 4, 16],
        [64, 4, 0],
        [500, 1, 3],
        [63, 16, 0],
        [33, 60, 0],
        [5, 257, 0],
        [5, 200, 257],
        [9000, 33, 0],
        [9000, 8, 1],
    ] {
        cases.push(case("", sizes, 1.0, 0.0));
    }
    for writes in [0, 8] {
        cases.push(case(" lower tail", [65, 8, writes], 1.0, -14.0));
        cases.push(case(" upper tail", [65, 8, writes], 1.0, 50.0));
        cases.push(case(" saturated", [65, 8, writes], 200.0, 0.0));
    }
    for sizes in [[1, 1], [65, 3], [63, 16], [5, 257], [9000, 8]] {
        cases.push(biased("", sizes, 1.0, 0.0));
    }
    for (name, scale, shift) in [
        (" lower tail", 1.0, -8.0),
        (" upper tail", 1.0, 8.0),
        (" saturated", 200.0, 0.0),
    ] {
        cases.push(biased(name, [65, 8], scale, shift));
    }
    cases
}

fn columns(fill: &mut Fill, numel: usize, scale: f32, shift: f32) -> Vec<f32> {
    fill.normal(numel).iter().map(|y| y * scale + shift).collect()
}

/// `A_log` at the ends of its initial range and, for every third head, a decay of nothing.
fn case(name: &str, [rows, h, writes]: [usize; 3], scale: f32, shift: f32) -> Case {
    let mut fill = Fill::new((rows * h) as u64);
    let y = columns(&mut fill, rows * (h + writes), scale, shift);
    let a_log: Vec<f32> = (0..h).map(|i| [2.77, -1.0, -60.0][i % 3]).collect();
    let dt_bias = fill.uniform(h, -7.0, -2.0);
    let inputs = vec![y.into(), a_log.into(), dt_bias.into()];
    let op = DecayGate {
        writes,
        strongest: 2.0,
        ..DecayGate::new(rows, h)
    };
    let mut case = Case::new(format!("rows{rows} h{h} w{writes}{name}"), op, inputs);
    case.outputs = 1 + usize::from(writes > 0);
    case
}

fn biased(name: &str, [rows, h]: [usize; 2], scale: f32, shift: f32) -> Case {
    let mut fill = Fill::new((rows * h) as u64);
    let y = columns(&mut fill, rows * 2 * h, scale, shift);
    let [decays, writes] = [(); 2].map(|()| fill.uniform(h, -2.0, 2.0));
    let inputs = vec![y.into(), decays.into(), writes.into()];
    let op = DecayGate::biased(rows, h);
    let mut case = Case::new(format!("rows{rows} h{h} biased{name}"), op, inputs);
    case.outputs = 2;
    case
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let (rows, h) = (scale.rows(), HEADS);
    let alone = DecayGate::new(rows, h);
    let both = DecayGate {
        writes: h,
        ..alone.clone()
    };
    let of = |name, op| Bench::new(Family::Elementwise, name, op);
    vec![
        of(format!("{rows}x{h}"), alone),
        of(format!("{rows}x{h} writes"), both),
    ]
}

/// The model fixtures hold it.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}

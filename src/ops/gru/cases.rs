//! Hostile shapes and values of the op, for its tests and for `check`.

use super::Gru;
use crate::cases::Fill;
use crate::cases::bench::{Bench, D, Extents, Scale};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::tensor::TensorId;

/// One step, one sequence, any number of sequences in a workgroup, widths around its channels and around the terms that
/// are staged at a time; gates that are open and shut, states near 0; then long sequences.
pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = [
        (1, 1, 1),
        (3, 1, 5),
        (1, 9, 3),
        (2, 33, 8),
        (5, 7, 33),
        (9, 4, 65),
        (33, 3, 12),
        (70, 2, 20),
        (2, 3, 150),
        (1, 200, 2),
    ]
    .map(|(b, t, d)| case("", Gru { b, t, d }, 1.0, [0.0; 3], 1.0))
    .to_vec();
    let op = Gru { b: 3, t: 20, d: 10 };
    for (name, scale, centres, weight) in [
        (" keeps all", 1.0, [0.0, 12.0, 0.0], 1.0),
        (" keeps nothing", 1.0, [0.0, -12.0, 0.0], 1.0),
        (" resets", 1.0, [-12.0, 0.0, 0.0], 1.0),
        (" saturated", 30.0, [0.0; 3], 1.0),
        (" small", 1e-4, [0.0; 3], 1e-2),
        (" strong coupling", 1.0, [0.0; 3], 6.0),
        (" gates 0 and 1", 1e4, [0.0; 3], 1.0),
    ] {
        cases.push(case(name, op.clone(), scale, centres, weight));
    }
    let tiles = Gru { b: 4, t: 20, d: 40 };
    cases.push(case(" products of whole tiles", tiles, 1.0, [0.0; 3], 1.0).self_test());
    for (b, d) in [(1, 4), (3, 10)] {
        cases.push(case("", Gru { b, t: 4097, d }, 1.0, [0.0; 3], 1.0).long());
    }
    cases
}

/// Arguments of the gates around `centres` by `scale`; `weight` multiplies U and b of the usual size.
fn case(name: &str, op: Gru, scale: f32, centres: [f32; 3], weight: f32) -> Case {
    let d = op.d;
    let mut fill = Fill::new((op.b * op.t * d) as u64);
    let mut xg = fill.normal(op.b * op.t * 3 * d);
    for (i, x) in xg.iter_mut().enumerate() {
        *x = centres[i / d % 3] + scale * *x;
    }
    let r = weight * (d as f32).powf(-0.5);
    let inputs = vec![
        xg.into(),
        fill.uniform(3 * d * d, -r, r).into(),
        fill.uniform(3 * d, -r, r).into(),
    ];
    Case::new(format!("B{} T{} d{d}{name}", op.b, op.t), op, inputs)
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let make = |Extents { b, t, .. }| Gru { b, t, d: D }.into();
    Bench::suite(scale, "gru", 1, "1024", make)
}

/// The golden model `gru` holds it.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}

//! Hostile shapes and values of the op, for its tests and for `check`.

use super::SwiGlu;
use crate::cases::Fill;
use crate::cases::bench::{Bench, D, Family, Scale};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::tensor::TensorId;

/// Sizes around the workgroup and past the number of partial sums, both tails of the logistic, a slope of zero.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (rows, d) in [
        (1, 1),
        (500, 1),
        (63, 3),
        (65, 4),
        (64, 60),
        (9, 81),
        (3, 1000),
        (1, 2592),
    ] {
        cases.push(case("", rows, d, 1.3, |x| x));
    }
    cases.push(case("", 1100, 260, 1.0, |x| x));
    cases.push(case(" saturated", 7, 81, 1.0, |x| 40.0 * x));
    cases.push(case(" upper tail", 7, 81, 1.0, |x| 18.0 + x.abs()));
    cases.push(case(" huge", 7, 81, -1.0, |x| 1e15 * x));
    cases.push(case(" slope 0", 7, 81, 0.0, |x| x));
    cases
}

/// `value` makes the swish branch from normal numbers.
fn case(name: &str, rows: usize, d: usize, beta: f32, value: impl Fn(f32) -> f32) -> Case {
    let mut x = Fill::new((rows * d) as u64).normal(rows * 2 * d);
    for row in x.chunks_mut(2 * d) {
        row[..d].iter_mut().for_each(|a| *a = value(*a));
    }
    let op = SwiGlu { rows, d };
    Case::new(
        format!("rows{rows} d{d}{name}"),
        op,
        vec![x.into(), vec![beta].into()],
    )
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let (rows, d) = (scale.rows(), 4 * D);
    vec![Bench::new(
        Family::Elementwise,
        format!("{rows}x{d}"),
        SwiGlu { rows, d },
    )]
}

/// `swiglu_beta`.
pub fn golden(g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    (g.name == "swiglu_beta").then(|| {
        let [rows, width] = g.rows("x")?;
        let ins = g.inputs(&["x", "beta"])?;
        let op = SwiGlu { rows, d: width / 2 };
        Ok(vec![("y", g.graph.call(op, &ins)?[0])])
    })
}

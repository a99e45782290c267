//! Hostile shapes and values of the op, for its tests and for `check`.

use super::LayerNorm;
use crate::cases::Fill;
use crate::cases::bench::{Bench, D, Family, Scale};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::ops::dropout::Dropout;
use crate::step::StepParams;
use crate::tensor::TensorId;

/// All of them.
pub fn cases() -> Vec<Case> {
    [smooth(), extreme(), sums()].concat()
}

fn plain(rows: usize, d: usize, eps: f32) -> LayerNorm {
    let sum = None;
    LayerNorm { rows, d, eps, sum }
}

fn of_sum(rows: usize, d: usize, p: f32, tag: u32) -> LayerNorm {
    let sum = Some(Dropout { rows, d, p, tag });
    LayerNorm {
        sum,
        ..plain(rows, d, 1e-5)
    }
}

fn case(name: &str, op: LayerNorm, value: impl Fn(usize, f32) -> f32) -> Case {
    let (n, d) = (op.rows * op.d, op.d);
    let mut fill = Fill::new(n as u64);
    let mut x = fill.normal(n);
    x.iter_mut().enumerate().for_each(|(i, x)| *x = value(i, *x));
    let (w, b) = (fill.uniform(d, 0.5, 1.5), fill.normal(d));
    Case::new(name, op, vec![x.into(), w.into(), b.into()])
}

/// Widths and row counts around every tile.
pub fn smooth() -> Vec<Case> {
    let shapes = [
        (65, 1),
        (64, 3),
        (63, 4),
        (500, 16),
        (65, 60),
        (33, 81),
        (9, 162),
        (7, 256),
        (5, 1000),
        (1, 2592),
        (9000, 33), // more row groups than partial sums
    ];
    let case = |&(rows, d): &(usize, usize)| {
        let op = plain(rows, d, 1e-5);
        case(&format!("rows{rows} d{d}"), op, |_, x| x)
    };
    shapes.iter().map(case).collect()
}

/// Constant rows, a mean far above the spread, an outlier that everything is measured from, both ends of the range.
fn extreme() -> Vec<Case> {
    let op = |eps| plain(9, 81, eps);
    vec![
        case(
            "zero rows",
            op(1e-5),
            |i, x| if i / 81 % 2 == 0 { 0.0 } else { x },
        ),
        case("constant rows", op(1e-5), |i, _| (i / 81) as f32 - 3.7),
        case("far from zero", op(1e-5), |_, x| 4096.0 + x),
        case(
            "first outlies",
            op(1e-5),
            |i, x| if i % 81 == 0 { 1e4 } else { x },
        ),
        case("tiny", op(1e-30), |_, x| 1e-15 * x),
        case("huge", op(1e-5), |_, x| 1e15 * x),
    ]
}

/// Sums with a dropped part: widths around a counter's four columns, first rows, no dropout.
pub fn sums() -> Vec<Case> {
    let on = StepParams::dropping;
    let off = StepParams::eval(1);
    let case = |name: &str, op: LayerNorm, step: StepParams| {
        let (n, d) = (op.rows * op.d, op.d);
        let mut fill = Fill::new(n as u64);
        let [residual, z] = [1.0, 2.0].map(|scale| fill.uniform(n, -scale, scale));
        let (w, b) = (fill.uniform(d, 0.5, 1.5), fill.normal(d));
        let name = format!("sum rows{} d{d}{name}", op.rows);
        let inputs = vec![residual.into(), z.into(), w.into(), b.into()];
        Case {
            step,
            ..Case::new(&name, op, inputs)
        }
    };
    vec![
        case("", of_sum(63, 3, 0.2, 1), on(2, 77, 64)).self_test(),
        case(
            "",
            of_sum(65, 60, 0.2, u32::MAX),
            on(u32::MAX, u32::MAX, u32::MAX - 7),
        )
        .self_test(),
        case("", of_sum(33, 81, 0.5, 3), on(4, 3124, 5)),
        case("", of_sum(300, 128, 0.2, 2), on(3, 1, 25_600)),
        case(" p 0", of_sum(7, 60, 0.0, 8), on(7, 4, 0)),
        case(" off", of_sum(9, 256, 0.2, 9), off),
    ]
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let (rows, d) = (scale.rows(), D);
    let size = format!("{rows}x{d}");
    vec![
        Bench::new(Family::Norms, size.clone(), plain(rows, d, 1e-5)),
        Bench::new(Family::Norms, format!("{size} sum"), of_sum(rows, d, 0.2, 0)),
    ]
}

/// `layernorm`.
pub fn golden(g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    (g.name == "layernorm").then(|| {
        let [rows, d] = g.rows("x")?;
        let eps = g.needs("eps")? as f32;
        let ins = g.inputs(&["x", "w", "b"])?;
        Ok(vec![("y", g.graph.call(plain(rows, d, eps), &ins)?[0])])
    })
}

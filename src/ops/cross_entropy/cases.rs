//! Hostile shapes and values of the op, for its tests and for `check`.

use super::{CrossEntropy, IGNORE};
use crate::cases::Fill;
use crate::cases::bench::{Bench, CLASSES, Family, Scale};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::step::StepParams;
use crate::tensor::TensorId;

/// One class, one row, the paper's 1,601 classes, large logits, masks of every kind.
pub fn cases() -> Vec<Case> {
    let case = |name: &str, rows: usize, classes: usize, size: f32, mask: fn(usize) -> bool| {
        let mut fill = Fill::new((rows + classes) as u64);
        let z: Vec<f32> = fill.normal(rows * classes).iter().map(|v| v * size).collect();
        let mut labels = fill.below(rows, classes as u32);
        labels
            .iter_mut()
            .enumerate()
            .filter(|(r, _)| mask(*r))
            .for_each(|(_, l)| *l = IGNORE);
        let tokens = labels.iter().filter(|l| **l != IGNORE).count();
        let mut case = Case::new(
            name,
            CrossEntropy { rows, classes },
            vec![z.into(), labels.into()],
        );
        case.step = StepParams::eval(tokens);
        case
    };
    vec![
        case("one class", 5, 1, 1.0, |_| false),
        case("one row", 1, 300, 1.0, |_| false),
        case("every other row masked", 70, 50, 1.0, |r| r % 2 == 1),
        case("all masked", 9, 20, 1.0, |_| true),
        case("paper's classes", 33, 1601, 1.0, |r| r % 7 == 0),
        case("large logits", 20, 257, 300.0, |_| false),
    ]
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let (rows, classes) = (scale.rows(), CLASSES);
    let shape = format!("{rows}x{classes}");
    vec![Bench::new(Family::Dense, shape, CrossEntropy { rows, classes })]
}

/// `masked_ce`.
pub fn golden(g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    (g.name == "masked_ce").then(|| {
        let [rows, classes] = g.rows("logits")?;
        let ins = g.inputs(&["logits", "labels"])?;
        let outs = g.graph.call(CrossEntropy { rows, classes }, &ins)?;
        Ok(vec![("loss", outs[0])])
    })
}

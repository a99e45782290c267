//! Hostile shapes and values of the op, for its tests and for `check`.

use super::WindowAccuracy;
use crate::cases::Fill;
use crate::cases::bench::{Bench, CLASSES, Extents, Family, Scale};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::ops::cross_entropy::CrossEntropy;
use crate::tensor::TensorId;

/// Windows of one step and of many, empty ones, ones beyond the end, one class and the paper's 1,601, exact ties.
pub fn cases() -> Vec<Case> {
    let case = |name: &str, b: usize, t: usize, e: usize, classes: usize, size: f32| {
        let mut fill = Fill::new((b + t + classes) as u64);
        let z: Vec<f32> = fill.normal(b * t * classes).iter().map(|v| v * size).collect();
        let lse: Vec<f32> = z
            .chunks(classes)
            .map(|z| z.iter().map(|v| v.exp()).sum::<f32>().ln())
            .collect();
        let step = t / e;
        let windows = (0..b * e)
            .flat_map(|i| [(i % e * step) as u32, (step - i % 2) as u32])
            .collect::<Vec<u32>>();
        let labels = fill.below(b * e, classes as u32);
        let op = WindowAccuracy { b, t, e, classes };
        let mut case = Case::new(
            name,
            op,
            vec![z.into(), lse.into(), windows.into(), labels.into()],
        );
        case.outputs = 2;
        case
    };
    // The last sequence's too: what they ask for lies behind the tensor.
    let mut beyond = case("windows beyond the end", 2, 10, 5, 20, 1.0);
    let far = [[9, 3], [10, 1], [11, 2], [u32::MAX, u32::MAX], [4, u32::MAX]];
    beyond.inputs[2] = [far, far].as_flattened().as_flattened().to_vec().into();
    vec![
        case("windows of 2 and 1", 3, 10, 5, 20, 1.0),
        case("windows of 1 and 0", 2, 7, 7, 300, 1.0),
        case("one class", 1, 4, 2, 1, 1.0),
        case("paper's classes", 2, 24, 8, 1601, 1.0),
        case("all classes tie", 1, 6, 3, 513, 0.0),
        beyond,
    ]
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let Extents { b, t, .. } = scale.paper();
    let e = (t / 2).max(1);
    let classes = CLASSES;
    let op = WindowAccuracy { b, t, e, classes };
    let shape = format!("B{b} T{t} E{e} {classes}");
    vec![Bench::new(Family::Dense, shape, op)]
}

/// `seq_accuracy`, on top of the row sums of `cross_entropy`.
pub fn golden(g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    (g.name == "seq_accuracy").then(|| {
        let ([b, t, classes], [_, e, _]) = (g.sizes("logits")?, g.sizes("windows")?);
        let logits = [g.input("logits")?, g.input("labels")?];
        let ce = g.graph.call(CrossEntropy { rows: b * t, classes }, &logits)?;
        let ins = [logits[0], ce[1], g.input("windows")?, g.input("window_labels")?];
        let outs = g.graph.call(WindowAccuracy { b, t, e, classes }, &ins)?;
        Ok(vec![("pred", outs[0]), ("counts", outs[1])])
    })
}

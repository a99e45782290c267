//! Hostile shapes and values of the op, for its tests and for `check`.

use super::HeadLoss;
use crate::cases::Fill;
use crate::cases::bench::{Bench, CLASSES, D, Extents, Family, Scale};
use crate::cases::{Case, Golden, Values};
use crate::error::Result;
use crate::ops::cross_entropy::IGNORE;
use crate::step::StepParams;
use crate::tensor::TensorId;

/// Training and evaluation, odd sizes, masked rows, several pieces.
pub fn cases() -> Vec<Case> {
    let case = |name: &str, [b, t, e, d, classes]: [usize; 5], train: bool, scaled: bool| {
        let mut fill = Fill::new((b * t + d + classes) as u64);
        let x = fill.normal(b * t * d);
        let w: Vec<f32> = fill
            .normal(classes * d)
            .iter()
            .map(|v| v / (d as f32).sqrt())
            .collect();
        let bias = fill.normal(classes);
        let mut labels = fill.below(b * t, classes as u32);
        labels.iter_mut().step_by(5).for_each(|l| *l = IGNORE);
        let tokens = labels.iter().filter(|l| **l != IGNORE).count();
        let step = t / e;
        let windows = (0..b * e)
            .flat_map(|i| [(i % e * step) as u32, (step - i % 2) as u32])
            .collect::<Vec<u32>>();
        let window_labels = fill.below(b * e, classes as u32);
        let op = HeadLoss {
            b,
            t,
            e,
            d,
            classes,
            train,
            scaled,
        };
        let mut inputs: Vec<Values> = vec![
            x.into(),
            w.into(),
            bias.into(),
            labels.into(),
            windows.into(),
            window_labels.into(),
        ];
        if scaled {
            inputs.push(vec![8.0, 0.0, 0.0, 0.0].into());
        }
        let mut case = Case::new(name, op, inputs);
        case.outputs = if train { 5 } else { 2 };
        case.step = StepParams::eval(tokens);
        case
    };
    vec![
        case("evaluation", [2, 9, 3, 7, 11], false, false),
        case("training", [3, 12, 4, 16, 20], true, false),
        case("times a loss scale", [3, 12, 4, 16, 20], true, true),
        case("one row", [1, 1, 1, 4, 2], true, false),
        case("paper's classes", [2, 20, 10, 33, 1601], true, false),
        case("products of whole tiles", [2, 40, 10, 72, 130], true, false).self_test(),
        case("products along padded rows", [2, 70, 10, 136, 161], true, false).self_test(),
    ]
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let Extents { b, t, .. } = scale.paper();
    let op = HeadLoss {
        b,
        t,
        e: (t / 2).max(1),
        d: D,
        classes: CLASSES,
        train: true,
        scaled: false,
    };
    vec![Bench::new(Family::Dense, format!("B{b} T{t} {D}x{CLASSES}"), op)]
}

/// The model fixtures hold it.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}

//! Data for benches: random, of the scale that trained models see, quickly made.

use crate::cases::Fill;
use crate::cases::bench::{Bench, Family};
use crate::ops::Op;
use crate::port::{Port, Storage};

/// Values drawn for a tensor; a larger one repeats them. No kernel is faster for it, and large tensors take no minutes.
const DRAWN: usize = 1 << 18;

/// Values of a tensor.
pub(super) enum Values {
    Real(Vec<f32>),
    Int(Vec<u32>),
}

/// An input of a bench.
pub(super) fn input(bench: &Bench, port: &Port, seed: u64) -> Values {
    let n = port.shape.iter().product();
    if port.storage == Storage::Index {
        return Values::Int(integers(&bench.op, port, n, seed));
    }
    let mut fill = Fill::new(seed);
    let drawn = DRAWN.min(n);
    let values = match (bench.family, port.name) {
        (Family::Recurrences, "q" | "k") => {
            let d = port.shape.last().copied().unwrap_or(1).max(1);
            fill.unit_rows(drawn.div_ceil(d), d)
        }
        // Log decays like those of a gate at its start: -softplus / 16.
        (Family::Recurrences, "g" | "gk") => fill
            .normal(drawn)
            .into_iter()
            .map(|x| -x.exp().ln_1p() / 16.0)
            .collect(),
        (_, "beta") => fill.uniform(drawn, 0.0, 1.0),
        // Mesa's regulariser, positive.
        (_, "lambda") => fill.uniform(drawn, 0.25, 2.0),
        // Norm, factor, not halted.
        (_, "stats") => vec![1.0, 1.0, 0.0, 0.0],
        _ => fill.normal(drawn),
    };
    Values::Real(cycle(&values, n))
}

/// A tensor that the op adds to or updates: not negative, as second moments are.
pub(super) fn updated(port: &Port, seed: u64) -> Vec<f32> {
    let n = port.shape.iter().product();
    match port.name {
        "stats" => vec![0.0; n],
        _ => cycle(&Fill::new(seed).uniform(DRAWN.min(n), 0.0, 1.0), n),
    }
}

/// The gradient of an output.
pub(super) fn gradient(n: usize, seed: u64) -> Vec<f32> {
    cycle(&Fill::new(seed).normal(DRAWN.min(n)), n)
}

fn integers(op: &Op, port: &Port, n: usize, seed: u64) -> Vec<u32> {
    let windows = |t: usize, e: usize| -> Vec<u32> {
        let width = (t / e).max(1);
        let window = |i: usize| [(i % e * width).min(t - width) as u32, width as u32];
        (0..n / 2).flat_map(window).collect()
    };
    let bound = match (op, port.name) {
        (Op::HeadLoss(o), "windows") => return windows(o.t, o.e),
        (Op::WindowAccuracy(o), "windows") => return windows(o.t, o.e),
        (Op::HeadLoss(o), _) => o.classes,
        (Op::WindowAccuracy(o), _) => o.classes,
        (Op::CrossEntropy(o), _) => o.classes,
        (Op::Spread(o), "windows") => return windows(o.t, o.e),
        // Seed, split, idx and steps of each sample.
        (Op::OneHot(o), "samples") => return vec![o.rows as u32; n],
        (Op::OneHot(o), _) => o.vocab,
        // All of the past is read.
        (Op::AttentionStep(o), _) => return vec![o.rows as u32 - 1; n],
        // Zero is a valid index everywhere.
        _ => 1,
    };
    Fill::new(seed).below(n, bound as u32)
}

fn cycle(values: &[f32], n: usize) -> Vec<f32> {
    values.iter().copied().cycle().take(n).collect()
}

//! Hostile shapes and values of the op, for its tests and for `check`.

use super::AttentionStep;
use crate::cases::Fill;
use crate::cases::bench::{Bench, D_K, Extents, Family, Scale};
use crate::cases::{Case, Golden, Values};
use crate::error::Result;
use crate::tensor::TensorId;

/// Narrow, odd and widest heads; positions at the ends, around the parts of the kernel and past the last row; scores and
/// forgetting of any size.
pub fn cases() -> Vec<Case> {
    let op = |(b, h, d), rows, forgets| AttentionStep {
        b,
        h,
        d,
        rows,
        scale: (d as f32).powf(-0.5),
        forgets,
    };
    vec![
        case("", op((1, 1, 1), 1, false), 0, 1.0, 0.1),
        case("", op((2, 3, 7), 5, true), 0, 1.0, 0.1),
        case("", op((2, 3, 7), 5, true), 4, 1.0, 0.1),
        case("", op((1, 2, 64), 128, false), 127, 1.0, 0.1),
        case("", op((1, 2, 60), 129, true), 127, 1.0, 0.1),
        case("", op((2, 1, 81), 130, true), 128, 1.0, 0.1),
        case("", op((1, 1, 128), 300, false), 260, 1.0, 0.1),
        case("", op((1, 1, 256), 131, true), 130, 1.0, 0.1),
        case("past the end", op((1, 2, 16), 20, true), 4_000_000_000, 1.0, 0.1),
        case("large scores", op((1, 2, 64), 200, false), 170, 30.0, 0.1),
        case("large scores", op((1, 2, 64), 200, true), 170, 30.0, 0.1),
        case("forgets fast", op((2, 2, 16), 260, true), 259, 1.0, 50.0),
        case("forgets all", op((1, 3, 16), 140, true), 139, 1.0, 2e4),
        case(
            "very negative scores",
            op((1, 1, 16), 140, false),
            130,
            -20.0,
            0.1,
        ),
    ]
}

/// `score` scales q and k, negative: all of one sign; `forget` the log decays, with biases as the tokens before leave
/// them.
fn case(name: &str, op: AttentionStep, position: u32, score: f32, forget: f32) -> Case {
    let (heads, cache) = (op.b * op.h, op.b * op.rows * op.h * op.d);
    let mut fill = Fill::new((cache + position as usize) as u64);
    let mut drawn = |n: usize, sign: f32| -> Vec<f32> {
        let one_sign = |x: &f32| if score < 0.0 { sign * x.abs() } else { *x };
        fill.normal(n)
            .iter()
            .map(|x| score.abs().sqrt() * one_sign(x))
            .collect()
    };
    let (q, k, keys) = (
        drawn(heads * op.d, 1.0),
        drawn(heads * op.d, -1.0),
        drawn(cache, -1.0),
    );
    let mut inputs: Vec<Values> = vec![
        q.into(),
        k.into(),
        fill.normal(heads * op.d).into(),
        vec![position].into(),
    ];
    let log_decays = |fill: &mut Fill, n: usize| fill.uniform(n, -forget, 0.0);
    if op.forgets {
        inputs.push(log_decays(&mut fill, heads).into());
    }
    inputs.extend([keys.into(), fill.normal(cache).into()]);
    if op.forgets {
        let mut bias = log_decays(&mut fill, op.b * op.rows * op.h);
        for bias in bias.chunks_mut(op.rows * op.h) {
            for i in (0..(op.rows - 1) * op.h).rev() {
                bias[i] += bias[i + op.h];
            }
        }
        inputs.push(bias.into());
    }
    let forgets = if op.forgets { " forgets" } else { "" };
    let AttentionStep { b, h, d, rows, .. } = op;
    let name = format!("B{b} H{h} d{d} {position} of {rows}{forgets} {name}");
    Case::new(name.trim_end(), op, inputs)
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let Extents { b, t, h } = scale.paper();
    let op = AttentionStep {
        b,
        h,
        d: D_K,
        rows: t,
        scale: (D_K as f32).powf(-0.5),
        forgets: false,
    };
    let shape = format!("B{b} T{t} H{h} {D_K}");
    vec![Bench::token(Family::Attention, shape, op)]
}

/// None: `attention` has one, and the tests run both.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}

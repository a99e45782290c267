//! Hostile shapes and values of the op, for its tests and for `check`.

use super::RecurrenceStep;
use crate::cases::Fill;
use crate::cases::bench::{Bench, D_K, D_V, Extents, Family, Scale};
use crate::cases::{Case, Golden, Values};
use crate::error::Result;
use crate::ops::Decay;
use crate::ops::chunks::cases::Draw;
use crate::tensor::TensorId;

/// Narrow, odd and widest heads around the tiles with every decay and write; gates and strengths at their limits; the
/// first token.
pub fn cases() -> Vec<Case> {
    const MILD: &[f32] = &[-0.01, -0.1, -0.3, -0.7];
    const LIMITS: &[f32] = &[0.0, -1e4, -87.0, -90.0, -1.0];
    let op = |(b, h, d_k, d_v), decay, delta, householder| RecurrenceStep {
        b,
        h,
        d_k,
        d_v,
        scale: (d_k as f32).powf(-0.5),
        decay,
        shared_qk: false,
        delta,
        beta: delta,
        householder,
    };
    let shared = |sizes, decay| RecurrenceStep {
        shared_qk: true,
        ..op(sizes, decay, false, 1)
    };
    let mut first = case("first token", op((2, 2, 16, 20), Decay::Scalar, true, 1), MILD);
    if let Some(Values::Real(state)) = first.inputs.last_mut() {
        state.fill(0.0);
    }
    let mut added = op((1, 2, 20, 33), Decay::Channel, false, 3);
    added.beta = true;
    let mut replaced = op((1, 3, 9, 31), Decay::Constant, true, 2);
    replaced.beta = false;
    vec![
        first,
        case("", op((1, 1, 1, 1), Decay::None, true, 1), MILD),
        case("", op((2, 3, 3, 5), Decay::None, false, 1), MILD),
        case("", op((2, 2, 7, 32), Decay::Scalar, true, 1), MILD),
        case("limits", op((3, 5, 8, 33), Decay::Scalar, true, 1), LIMITS),
        case("", op((1, 2, 60, 100), Decay::Scalar, true, 4), MILD),
        case("", op((1, 2, 81, 162), Decay::None, true, 1), MILD),
        case("", op((2, 1, 128, 256), Decay::Scalar, true, 1), MILD),
        case("", op((1, 1, 256, 256), Decay::Channel, true, 8), MILD),
        case("limits", op((2, 2, 64, 81), Decay::Channel, false, 1), LIMITS),
        case("", op((1, 24, 16, 4), Decay::Constant, false, 1), MILD),
        case("strengths", added, MILD),
        case("no strengths", replaced, MILD),
        case("", shared((2, 3, 16, 20), Decay::Scalar), LIMITS),
        case("", shared((1, 3, 128, 80), Decay::None), MILD),
        case("", shared((2, 2, 9, 16), Decay::Channel), MILD),
    ]
}

fn case(name: &str, op: RecurrenceStep, gates: &'static [f32]) -> Case {
    let RecurrenceStep {
        b,
        h,
        d_k,
        d_v,
        householder,
        decay,
        ..
    } = op;
    let (heads, keys) = (b * h, b * op.key_heads());
    let mut fill = Fill::new((heads * 7 + d_k * 31 + d_v) as u64);
    let mut inputs: Vec<Values> = vec![
        fill.unit_rows(keys, d_k).into(),
        fill.unit_rows(keys * householder, d_k).into(),
        fill.normal(heads * householder * d_v).into(),
    ];
    if op.beta {
        inputs.push(fill.uniform(heads * householder, 0.0, 2.0).into());
    }
    let width = match decay {
        Decay::None | Decay::Constant => 0,
        Decay::Scalar => 1,
        Decay::Channel => d_k,
    };
    if width > 0 {
        let gates = Draw::OneOf(gates).fill(&mut fill, heads * width);
        inputs.push(gates.into());
    }
    inputs.push(fill.normal(heads * d_k * d_v).into());
    let write = if op.delta { "delta" } else { "add" };
    let shared = if op.shared_qk { " shared" } else { "" };
    let name = format!("B{b} H{h} dk{d_k} dv{d_v} n{householder} {decay:?} {write}{shared} {name}");
    Case::new(name.trim_end(), op, inputs)
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let Extents { b, h, .. } = scale.paper();
    let of = |kind, decay, delta, householder| {
        let op = RecurrenceStep {
            b,
            h,
            d_k: D_K,
            d_v: D_V,
            scale: (D_K as f32).powf(-0.5),
            decay,
            shared_qk: false,
            delta,
            beta: delta,
            householder,
        };
        let writes = match householder {
            1 => String::new(),
            n => format!(" n{n}"),
        };
        let shape = format!("B{b} H{h} {D_K}x{D_V}{writes}");
        Bench::token(Family::Recurrences, shape, op).kind(kind)
    };
    vec![
        of("gated_delta_rule_step", Decay::Scalar, true, 1),
        of("gated_delta_product_step", Decay::Scalar, true, 4),
        of("kda_step", Decay::Channel, true, 1),
        of("gla_step", Decay::Channel, false, 1),
    ]
}

/// None: `delta_rule` and `linear_attention` have them, and the tests run all three.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}

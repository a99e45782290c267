//! Hostile shapes and values of the op, for its tests and for `check`.

use super::GruStep;
use crate::cases::Fill;
use crate::cases::bench::{Bench, D, Family, Scale};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::tensor::TensorId;

/// Channels around a workgroup, the first token, gates that are open and shut, states near 0 and large ones.
pub fn cases() -> Vec<Case> {
    let op = |b, d| GruStep { b, d };
    let mut cases: Vec<Case> = [(1, 1), (3, 5), (1, 256), (1, 257), (2, 81), (9, 100), (70, 20)]
        .map(|(b, d)| case("", op(b, d), USUAL))
        .to_vec();
    let gates = |r, z| Values {
        centres: [r, z, 0.0],
        ..USUAL
    };
    for (name, values) in [
        (" first token", Values { state: 0.0, ..USUAL }),
        (" keeps all", gates(0.0, 12.0)),
        (" keeps nothing", gates(0.0, -12.0)),
        (" resets", gates(-12.0, 0.0)),
        (" resets nothing", gates(12.0, 0.0)),
        (" saturated", Values { scale: 60.0, ..USUAL }),
        (" overflowing", Values { scale: 1e4, ..USUAL }),
        (
            " small",
            Values {
                scale: 1e-4,
                state: 1e-4,
                ..USUAL
            },
        ),
        (" large states", Values { state: 1e4, ..USUAL }),
    ] {
        cases.push(case(name, op(3, 10), values));
    }
    cases
}

/// What a case is made of.
#[derive(Clone, Copy)]
struct Values {
    /// Centres of the input's side of the gates' arguments: r, z, m.
    centres: [f32; 3],
    /// Scale of both sides.
    scale: f32,
    /// Scale of the state.
    state: f32,
}

const USUAL: Values = Values {
    centres: [0.0; 3],
    scale: 1.0,
    state: 0.5,
};

fn case(name: &str, op: GruStep, values: Values) -> Case {
    let (b, d) = (op.b, op.d);
    let mut fill = Fill::new((b * 1000 + d) as u64);
    let mut scaled =
        |n: usize, scale: f32| -> Vec<f32> { fill.normal(n).iter().map(|x| scale * x).collect() };
    let mut xg = scaled(b * 3 * d, values.scale);
    for (i, x) in xg.iter_mut().enumerate() {
        *x += values.centres[i / d % 3];
    }
    let inputs = [xg, scaled(b * 3 * d, values.scale), scaled(b * d, values.state)];
    Case::new(format!("B{b} d{d}{name}"), op, inputs.map(Into::into).into())
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let (b, d) = (scale.paper().b, D);
    vec![Bench::token(
        Family::Elementwise,
        format!("B{b} {d}"),
        GruStep { b, d },
    )]
}

/// None: the golden model `gru` holds `gru`, and the tests run both.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}

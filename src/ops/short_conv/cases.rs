//! Hostile shapes and values of the op, for its tests and for `check`.

use super::{ShortConv, WIDTH};
use crate::cases::Fill;
use crate::cases::bench::{Bench, D, Extents, Family, Scale};
use crate::cases::{Case, Golden, Values};
use crate::error::Result;
use crate::tensor::TensorId;

/// Sequences shorter than the filter and around the steps of a thread, channels around the workgroup, saturation.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (b, t, channels) in [
        (2, 1, 60),
        (1, 2, 1),
        (3, 3, 4),
        (2, 4, 3),
        (1, 5, 257),
        (2, 16, 5),
        (3, 17, 81),
        (1, 32, 60),
        (2, 35, 162),
        (1, 70, 256),
        (3, 100, 20),
        (1, 6, 1000),
        (1, 4097, 4),
    ] {
        let op = |bias| ShortConv { b, t, channels, bias };
        cases.push(case("", op(t % 2 == 0), 1.0));
    }
    // More units of steps than partial sums.
    cases.push(case(
        " units",
        ShortConv {
            b: 520,
            t: 33,
            channels: 8,
            bias: true,
        },
        1.0,
    ));
    let op = ShortConv {
        b: 1,
        t: 20,
        channels: 9,
        bias: true,
    };
    cases.push(case(" saturated", op.clone(), 1e4));
    cases.push(case(" huge", op.clone(), 1e15));
    cases.push(case(" zero", op, 0.0));
    cases
}

fn case(name: &str, op: ShortConv, scale: f32) -> Case {
    let n = op.b * op.t * op.channels;
    let mut fill = Fill::new(n as u64);
    let x: Vec<f32> = fill.normal(n).iter().map(|x| x * scale).collect();
    let mut inputs: Vec<Values> = vec![x.into(), fill.normal(op.channels * WIDTH).into()];
    if op.bias {
        inputs.push(fill.normal(op.channels).into());
    }
    let name = format!("B{} T{} C{} bias {}{name}", op.b, op.t, op.channels, op.bias);
    Case::new(name, op, inputs)
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let Extents { b, t, .. } = scale.paper();
    let of = |channels| {
        let op = ShortConv {
            b,
            t,
            channels,
            bias: false,
        };
        Bench::new(Family::Elementwise, format!("B{b} T{t} {channels}"), op)
    };
    vec![of(D), of(2 * D)]
}

/// `short_conv_silu`, `short_conv_silu_bias`.
pub fn golden(g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    ["short_conv_silu", "short_conv_silu_bias"]
        .contains(&g.name)
        .then(|| {
            g.only("kernel", WIDTH as f64)?;
            let bias = g.has("b");
            let [b, t, channels] = g.sizes("x")?;
            let names: &[&str] = if bias { &["x", "w", "b"] } else { &["x", "w"] };
            let ins = g.inputs(names)?;
            let op = ShortConv { b, t, channels, bias };
            Ok(vec![("y", g.graph.call(op, &ins)?[0])])
        })
}

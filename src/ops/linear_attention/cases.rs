//! Hostile shapes and values of the op, for its tests and for `check`.

use super::{CHUNK, LinearAttention};
use crate::cases::Fill;
use crate::cases::bench::{Bench, D_K, D_V, Extents, HEADS, Scale};
use crate::cases::{Case, Golden, Values};
use crate::error::Result;
use crate::ops::Decay;
use crate::ops::chunks::cases::{self, Draw, LONG};
use crate::tensor::TensorId;

/// Sizes: `B, T, H, d_k, d_v, C`.
type Sizes = (usize, usize, usize, usize, usize, usize);

/// With all keys of a head the same.
fn equal_keys(sizes: Sizes, decay: Decay, shared_qk: bool, draw: Draw) -> Case {
    let mut case = case("equal keys", sizes, decay, shared_qk, draw);
    let (_, _, h, d_k, ..) = sizes;
    if let Values::Real(k) = &mut case.inputs[1] {
        cases::equal_keys(k, if shared_qk { d_k } else { h * d_k });
    }
    case
}

fn case(name: &str, sizes: Sizes, decay: Decay, shared_qk: bool, draw: Draw) -> Case {
    let (b, t, h, d_k, d_v, chunk) = sizes;
    let op = LinearAttention {
        b,
        t,
        h,
        d_k,
        d_v,
        scale: (d_k as f32).powf(-0.5),
        decay,
        shared_qk,
        chunk,
    };
    let (rows, keys) = (b * t * h, b * t * op.key_heads());
    let mut fill = Fill::new((t * 7 + d_k * 31 + d_v) as u64);
    let mut inputs: Vec<Values> = vec![
        fill.normal(keys * d_k).into(),
        fill.normal(keys * d_k).into(),
        fill.normal(rows * d_v).into(),
    ];
    let gates = rows * op.decay.width(d_k);
    if gates > 0 {
        inputs.push(draw.fill(&mut fill, gates).into());
    }
    let shared = if shared_qk { " shared" } else { "" };
    let name = format!("B{b} T{t} H{h} dk{d_k} dv{d_v} C{chunk} {decay:?}{shared} {name}");
    // Run everywhere: chunks of 16, those of 32 by elements and all of 64; with decays by channel those of 16, and of 64 by quads.
    let quads = d_k % 4 == 0 && d_v % 4 == 0;
    let alike = match chunk {
        32 => quads || decay == Decay::Channel,
        64 => !quads && decay == Decay::Channel,
        _ => false,
    };
    Case::new(name.trim_end(), op, inputs).alike_if(alike)
}

/// Sizes around the chunk, its sub-blocks and the tiles of the kernels; gates at their limits; decay that breaks
/// differences of prefix sums; keys that are all the same; then long sequences.
pub fn cases() -> Vec<Case> {
    const MILD: Draw = Draw::Uniform(-0.3, 0.0);
    const STRONG: Draw = Draw::Uniform(-16.0, 0.0);
    const MIXTURE: Draw = Draw::OneOf(&[0.0, -0.01, -1.0, -50.0, -4200.0, -1e4]);
    const CLOSED: Draw = Draw::All(-1e4);
    const LIMITS: Draw = Draw::OneOf(&[0.0, -1e4]);
    let scalar = |name, sizes, draw| case(name, sizes, Decay::Scalar, false, draw);
    let shared = |name, sizes, draw| case(name, sizes, Decay::Scalar, true, draw);
    let channel = |name, sizes, draw| case(name, sizes, Decay::Channel, false, draw);
    let plain = |sizes, decay, shared| case("", sizes, decay, shared, MILD);
    vec![
        scalar("", (1, 1, 1, 4, 4, 16), MILD),
        scalar("", (2, 15, 2, 4, 4, 16), MILD),
        scalar("gate limits", (1, 17, 2, 3, 5, 16), LIMITS),
        scalar("", (1, 64, 1, 16, 32, 64), MILD),
        scalar("strong decay", (2, 65, 2, 60, 100, 64), STRONG),
        scalar("mixed decay", (1, 130, 2, 16, 32, 64), MIXTURE),
        scalar("decay e^-50", (1, 70, 1, 16, 32, 32), Draw::All(-50.0)),
        scalar("", (1, 33, 1, 81, 162, 32), MILD),
        scalar("no decay", (1, 65, 1, 128, 256, 64), Draw::All(0.0)),
        plain((1, 3, 1, 1, 1, 64), Decay::None, false),
        plain((1, 63, 2, 4, 4, 64), Decay::None, false),
        plain((1, 16, 3, 4, 4, 16), Decay::Constant, false),
        plain((1, 130, 5, 16, 32, 64), Decay::Constant, false),
        plain((1, 17, 40, 2, 3, 16), Decay::Constant, false),
        shared("", (2, 17, 3, 4, 4, 16), MILD),
        shared("mixed decay", (1, 70, 4, 16, 20, 64), MIXTURE),
        shared("strong decay", (1, 65, 2, 128, 81, 64), STRONG),
        plain((1, 20, 2, 5, 3, 16), Decay::None, true),
        plain((1, 33, 3, 16, 4, 32), Decay::Constant, true),
        channel("", (1, 1, 1, 4, 4, 16), MILD),
        channel("", (2, 15, 2, 4, 4, 16), MILD),
        channel("", (1, 16, 1, 4, 4, 16), MILD),
        channel("gate limits", (1, 17, 2, 3, 5, 16), LIMITS),
        channel("strong decay", (1, 33, 1, 5, 3, 32), STRONG),
        channel("one channel", (1, 20, 1, 1, 2, 16), MIXTURE),
        channel("", (1, 63, 2, 16, 32, 64), MILD),
        channel("", (1, 64, 1, 16, 32, 64), MILD),
        channel("strong decay", (2, 65, 2, 60, 100, 64), STRONG),
        channel("mixed decay", (1, 130, 2, 16, 32, 64), MIXTURE),
        channel("decay e^-50", (1, 70, 1, 16, 32, 32), Draw::All(-50.0)),
        channel("no decay", (1, 130, 1, 20, 16, 64), Draw::All(0.0)),
        channel("", (1, 33, 1, 81, 162, 32), MILD),
        channel(
            "mild decay",
            (1, 65, 1, 128, 256, 64),
            Draw::Uniform(-0.05, -0.04),
        ),
        plain((1, 1, 2, 256, 4, 32), Decay::None, false),
        plain((1, 1, 2, 4, 4, 64), Decay::Constant, false),
        shared("", (1, 1, 2, 256, 4, 64), MILD),
        channel("", (1, 1, 1, 256, 4, 64), MILD),
        scalar("", (1, 20, 1, 256, 256, 64), MILD),
        channel("", (1, 20, 1, 256, 256, 32), MILD),
        plain((1, 20, 1, 256, 64, 16), Decay::Constant, false),
        shared("", (1, 20, 2, 256, 64, 32), MILD),
        scalar("mixed decay", (1, 68, 1, 81, 162, 64), MIXTURE),
        plain((1, 65, 3, 30, 41, 64), Decay::Constant, false),
        scalar("decay 0", (1, 65, 1, 16, 8, 64), CLOSED),
        shared("decay 0", (1, 33, 2, 8, 4, 32), CLOSED),
        channel("decay 0", (1, 65, 1, 16, 8, 64), CLOSED),
        equal_keys((1, 33, 2, 4, 3, 16), Decay::None, false, MILD),
        equal_keys((1, 65, 2, 8, 4, 64), Decay::Constant, false, MILD),
        equal_keys((1, 70, 2, 16, 8, 32), Decay::Scalar, false, MILD),
        equal_keys((1, 65, 2, 8, 4, 64), Decay::Scalar, true, Draw::All(0.0)),
        equal_keys((1, 70, 2, 16, 8, 64), Decay::Channel, false, MILD),
        scalar("", (1, 70, 2, 72, 100, 64), MILD).self_test(),
        shared("", (1, 70, 3, 33, 81, 64), MILD).self_test(),
        shared("", (1, 130, 3, 64, 96, 64), MILD).self_test(),
        shared("", (1, 70, 2, 128, 81, 64), MILD).self_test(),
        channel("", (1, 70, 2, 81, 162, 64), MILD).self_test(),
        plain((2, 65, 2, 128, 64, 64), Decay::Constant, false).self_test(),
        channel("", (1, 70, 2, 72, 100, 64), MILD).self_test(),
        plain((1, LONG, 2, 8, 4, 64), Decay::None, false).long(),
        plain((1, LONG, 2, 8, 16, 32), Decay::Constant, false).long(),
        scalar("", (1, LONG, 2, 16, 32, 64), MILD).long(),
        scalar("mixed decay", (1, LONG, 1, 4, 8, 16), MIXTURE).long(),
        shared("", (1, LONG, 2, 16, 8, 64), MILD).long(),
        channel("", (1, LONG, 2, 16, 8, 64), MILD).long(),
        channel("mixed decay", (1, LONG, 1, 8, 4, 32), MIXTURE).long(),
        channel("no decay", (1, LONG, 1, 4, 8, 16), Draw::All(0.0)).long(),
        equal_keys((1, LONG, 1, 4, 4, 64), Decay::Scalar, false, MILD).long(),
    ]
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let of = |kind, heads, [d_k, d_v]: [usize; 2], decay, shared_qk| {
        let width = format!("{d_k}x{d_v}");
        Bench::suite(scale, kind, heads, &width, |Extents { b, t, h }| {
            let scale = if shared_qk { 1.0 } else { (d_k as f32).powf(-0.5) };
            let op = LinearAttention {
                b,
                t,
                h,
                d_k,
                d_v,
                scale,
                decay,
                shared_qk,
                chunk: CHUNK,
            };
            op.into()
        })
    };
    [
        of("gla", HEADS, [D_K, D_V], Decay::Channel, false),
        of("simple_gla", HEADS, [D_K, D_V], Decay::Scalar, false),
        of("retention", HEADS, [D_K, D_V], Decay::Constant, false),
        of("ssd", 2 * HEADS, [D_K, D_K], Decay::Scalar, true),
    ]
    .concat()
}

/// `gla`, `simple_gla` and `retention`.
pub fn golden(g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    let (decay, names): (Decay, &[&str]) = match g.name {
        "gla" => (Decay::Channel, &["q", "k", "v", "gk"]),
        "simple_gla" => (Decay::Scalar, &["q", "k", "v", "g"]),
        "retention" => (Decay::Constant, &["q", "k", "v"]),
        _ => return None,
    };
    let build = |g: &mut Golden<'_>| {
        let [[b, t, h, d_k], [.., d_v]] = [g.sizes("q")?, g.sizes("v")?];
        let op = LinearAttention {
            b,
            t,
            h,
            d_k,
            d_v,
            scale: g.scale(d_k),
            decay,
            shared_qk: false,
            chunk: CHUNK,
        };
        let ins = g.inputs(names)?;
        Ok(vec![("o", g.graph.call(op, &ins)?[0])])
    };
    Some(build(g))
}

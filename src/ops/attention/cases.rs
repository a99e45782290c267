//! Hostile shapes and values of the op, for its tests and for `check`.

use super::Attention;
use crate::cases::Fill;
use crate::cases::bench::{Bench, D_K, Extents, Family, HEADS, Scale};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::ops::Op;
use crate::tensor::TensorId;

/// Lengths around the tiles with narrow, odd and widest heads, then score patterns and a long sequence; the same with
/// decays.
pub fn cases() -> Vec<Case> {
    [plain(), forgetting()].concat()
}

fn plain() -> Vec<Case> {
    let shapes = [
        (1, 1, 1, 4),
        (2, 2, 3, 7),
        (1, 63, 2, 16),
        (1, 64, 1, 60),
        (2, 65, 1, 64),
        (1, 130, 2, 16),
        (1, 65, 2, 81),
        (1, 63, 1, 100),
        (1, 130, 1, 128),
        (1, 65, 1, 256),
        (1, 33, 1, 253),
    ];
    let mut cases: Vec<Case> = shapes
        .into_iter()
        .map(|(b, t, h, d)| long_if_widest(case("", b, t, h, d, |_, _, _| {}), d).alike_if(d == 81))
        .collect();
    // One key: the gradients of q and k are zero, and what rounding leaves of them is bounded absolutely, by 1e-6. With
    // equal keys it is that of q.
    cases[0].allowed = vec![("d q", 1.0), ("d k", 1.0)];
    // Scores near 96 for the query's own key, at most about 40 for others: exp of anything but differences overflows.
    // Few such rows: their dz is all rounding, and q multiplies it in dk.
    cases.push(case("one-hot rows", 1, 65, 2, 64, |_, q, k| {
        for (q, k) in q.chunks_mut(64).zip(k.chunks(64)).step_by(4) {
            for (q, k) in q.iter_mut().zip(k) {
                *q = 12.0 * k;
            }
        }
    }));
    cases.push(case("equal keys", 1, 70, 2, 16, |op, _, k| {
        let groups = [k[..16].to_vec(), k[16..32].to_vec()];
        for (i, k) in k.chunks_mut(16).enumerate() {
            k.copy_from_slice(&groups[usize::from(i >= 33 * op.h)]);
        }
    }));
    let mut equal = case("all keys equal", 1, 70, 2, 4, |op, _, k| {
        let (first, rest) = k.split_at_mut(op.h * op.d);
        rest.chunks_mut(first.len())
            .for_each(|keys| keys.copy_from_slice(first));
    });
    equal.allowed = vec![("d q", 1.0)];
    cases.push(equal);
    // All scores near -100, so that a maximum that starts at 0, or none at all, leaves an empty sum.
    cases.push(case("very negative rows", 1, 66, 1, 16, |_, q, k| {
        for (q, k) in q.chunks_mut(16).zip(k.chunks_mut(16)) {
            (q[15], k[15]) = (20.0, -20.0);
        }
    }));
    // Queries so large that running maxima grow.
    let large = case("large queries", 1, 203, 2, 72, |_, q, _| {
        q.iter_mut().for_each(|q| *q *= 4.0);
    });
    cases.push(large.self_test());
    // Scores that grow far past those of the first keys, for some rows and not for others.
    let growing = |t| {
        case("growing scores", 1, t, 2, 100, |op, _, k| {
            for (i, k) in k.chunks_mut(op.h * op.d).enumerate() {
                k.iter_mut()
                    .for_each(|k| *k *= 0.2 + 6.0 * i as f32 / op.t as f32);
            }
        })
    };
    cases.extend([growing(300).self_test(), growing(1100)]);
    cases.push(case("", 1, 4097, 1, 8, |_, _, _| {}).long());
    cases
}

fn forgetting() -> Vec<Case> {
    let mut cases = Vec::new();
    for (b, t, h, d) in [
        (1, 1, 1, 4),
        (2, 2, 3, 7),
        (1, 63, 2, 16),
        (2, 65, 1, 60),
        (1, 131, 3, 20),
        (1, 257, 1, 8),
        (1, 65, 1, 256),
        (1, 33, 1, 253),
    ] {
        cases.push(long_if_widest(decayed("", b, t, h, d, |_, log_f| log_f), d));
    }
    // As without decays.
    cases[0].allowed = vec![("d q", 1.0), ("d k", 1.0)];
    cases.push(decayed("", 1, 4097, 1, 8, |_, log_f| log_f).long());
    cases.push(decayed("nothing forgotten", 1, 70, 2, 16, |_, _| 0.0));
    // Sums of 3e4 and more, between them decays that f32 would lose beside such sums.
    cases.push(decayed("resets", 1, 200, 2, 16, |t, log_f| {
        if t % 7 == 3 { -1e3 } else { 0.05 * log_f }
    }));
    cases.push(decayed("", 1, 70, 2, 33, |_, log_f| log_f).self_test());
    // The smallest width that has the narrower tiles of the widest.
    cases.push(decayed("", 1, 33, 1, 133, |_, log_f| log_f).alike_if(true));
    cases.push(decayed("strong decays", 1, 600, 1, 16, |_, log_f| -5.0 + log_f));
    cases.push(decayed("all forgotten", 1, 150, 2, 16, |_, _| -1e3));
    cases.push(decayed("beyond all sums", 1, 40, 1, 16, |t, log_f| {
        if t % 9 == 4 { -3e38 } else { log_f }
    }));
    for case in &mut cases {
        // Nearly all of a row's weight is its own key's: d o . v - del is what rounding leaves of a difference, about
        // 1e-7, where the gradients of q and k are below 1e-3 or nothing.
        if case.name.ends_with("strong decays") {
            case.allowed = vec![("d q", 1e-4), ("d k", 1e-4)];
        } else if case.name.ends_with("all forgotten") {
            case.allowed = vec![("d q", 1.0), ("d k", 1.0)];
        }
    }
    cases
}

/// The widest heads have eight copies of what others have a few of, which takes drivers on the CPU a minute a kernel.
fn long_if_widest(case: Case, d: usize) -> Case {
    if d > 160 { case.long() } else { case }
}

/// A case of normal values and log decays of a sigmoid that `change` then edits, by step.
fn decayed(what: &str, b: usize, t: usize, h: usize, d: usize, change: impl Fn(usize, f32) -> f32) -> Case {
    let mut case = case(what, b, t, h, d, |_, _, _| {});
    let mut log_f = Fill::new((t + d) as u64).normal(b * t * h);
    for (i, x) in log_f.iter_mut().enumerate() {
        *x = change(i / h % t, -(1.0 + (-*x).exp()).ln());
    }
    case.inputs.push(log_f.into());
    if let Op::Attention(op) = &mut case.op {
        op.forget = true;
    }
    case.name = format!("forget {}", case.name);
    case
}

/// A case of normal values that `change` then edits (q and k).
fn case(
    what: &str,
    b: usize,
    t: usize,
    h: usize,
    d: usize,
    change: impl Fn(&Attention, &mut [f32], &mut [f32]),
) -> Case {
    let op = Attention {
        b,
        t,
        h,
        d,
        scale: (d as f32).powf(-0.5),
        forget: false,
    };
    let mut fill = Fill::new((t * d) as u64);
    let [mut q, mut k, v] = [(); 3].map(|()| fill.normal(op.numel()));
    change(&op, &mut q, &mut k);
    let name = format!("B{b} T{t} H{h} d{d} {what}");
    Case::new(name.trim_end(), op, vec![q.into(), k.into(), v.into()])
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let of = |kind, forget| {
        let make = |Extents { b, t, h }| {
            let (d, scale) = (D_K, (D_K as f32).powf(-0.5));
            Op::from(Attention {
                b,
                t,
                h,
                d,
                scale,
                forget,
            })
        };
        let family = Family::Attention;
        let lines = Bench::suite(scale, kind, HEADS, "128", make);
        lines.into_iter().map(move |bench| Bench { family, ..bench })
    };
    of("attention", false)
        .chain(of("forgetting_attention", true))
        .collect()
}

/// `attention` and `forgetting_attention`; the layer's golden file with norms and rotation is put together elsewhere.
pub fn golden(g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    let forget = match g.name {
        "attention" => false,
        "forgetting_attention" => true,
        _ => return None,
    };
    let names = ["q", "k", "v", "log_f"];
    let names = if forget { &names[..] } else { &names[..3] };
    let build = |g: &mut Golden<'_>| {
        let [b, t, h, d] = g.sizes("q")?;
        let op = Attention {
            b,
            t,
            h,
            d,
            scale: g.scale(d),
            forget,
        };
        let ins = g.inputs(names)?;
        Ok(vec![("o", g.graph.call(op, &ins)?[0])])
    };
    Some(build(g))
}

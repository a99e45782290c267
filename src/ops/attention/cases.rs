//! Hostile shapes and values of the op, for its tests and for `check`.

use super::Attention;
use crate::check::random::Fill;
use crate::check::{Case, Golden};
use crate::error::Result;
use crate::tensor::TensorId;

/// Lengths around the tiles with narrow, odd and widest heads, then score patterns and a long sequence.
pub fn cases() -> Vec<Case> {
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
    let mut cases: Vec<Case> =
        shapes.into_iter().map(|(b, t, h, d)| case("", b, t, h, d, |_, _, _| {})).collect();
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
        rest.chunks_mut(first.len()).for_each(|keys| keys.copy_from_slice(first));
    });
    equal.allowed = vec![("d q", 1.0)];
    cases.push(equal);
    // All scores near -100, so that a maximum that starts at 0, or none at all, leaves an empty sum.
    cases.push(case("very negative rows", 1, 66, 1, 16, |_, q, k| {
        for (q, k) in q.chunks_mut(16).zip(k.chunks_mut(16)) {
            (q[15], k[15]) = (20.0, -20.0);
        }
    }));
    cases.push(case("", 1, 4097, 1, 8, |_, _, _| {}).long());
    cases
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
    };
    let mut fill = Fill::new((t * d) as u64);
    let [mut q, mut k, v] = [(); 3].map(|()| fill.normal(op.numel()));
    change(&op, &mut q, &mut k);
    let name = format!("B{b} T{t} H{h} d{d} {what}");
    Case::new(name.trim_end(), op, vec![q.into(), k.into(), v.into()])
}

/// `attention`; the layer's golden file with norms and rotation is put together elsewhere.
pub fn golden(g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    if g.name != "attention" {
        return None;
    }
    let inputs = ["q", "k", "v"].map(|name| g.input(name));
    let scale = g.attr("scale")? as f32;
    let &[b, t, h, d] = g.shape("q") else { return None };
    let op = Attention { b, t, h, d, scale };
    Some(g.graph.call(op, &inputs).map(|outs| vec![("o", outs[0])]))
}

//! Hostile shapes and values of the op, for its tests and for `check`.

use super::Rope;
use crate::cases::Fill;
use crate::cases::bench::{Bench, D_K, Extents, Family, Scale};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::tensor::TensorId;

/// Narrow, odd-halved and widest heads; long times, where f32 angles would have lost 1e-3.
pub fn cases() -> Vec<Case> {
    let shapes = [
        (1, 1, 1, 2, 1000.0, -1),
        (2, 3, 1, 4, 10_000.0, 1),
        (1, 65, 3, 6, 1000.0, 1),
        (2, 63, 2, 16, 1000.0, -1),
        (1, 64, 2, 60, 10_000.0, -1),
        (1, 130, 1, 100, 1000.0, -1),
        (1, 65, 2, 128, 1000.0, -1),
        (1, 17, 1, 256, 10_000.0, 1),
        (1, 20_200, 1, 8, 1000.0, -1),
        (1, 2_200, 1, 36, 10_000.0, 1),
    ];
    let mut cases: Vec<Case> = shapes
        .into_iter()
        .map(|(b, t, h, d, base, direction)| {
            let op = Rope {
                b,
                t,
                h,
                d,
                base,
                direction,
                position: false,
            };
            let x = Fill::new((t * d) as u64).normal(op.numel());
            Case::new(
                format!("B{b} T{t} H{h} d{d} base {base} direction {direction}"),
                op,
                vec![x.into()],
            )
        })
        .collect();
    for (t, d, position) in [(1, 6, 0), (1, 16, 399), (3, 8, 70_000)] {
        let op = Rope {
            b: 2,
            t,
            h: 3,
            d,
            base: 1e4,
            direction: -1,
            position: true,
        };
        let x = Fill::new(d as u64).normal(op.numel());
        let inputs = vec![x.into(), vec![position].into()];
        cases.push(Case::new(format!("T{t} d{d} at {position}"), op, inputs));
    }
    cases
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let Extents { b, t, h } = scale.paper();
    let op = Rope {
        b,
        t,
        h,
        d: D_K,
        base: 1e4,
        direction: 1,
        position: false,
    };
    vec![Bench::new(Family::Attention, format!("B{b} T{t} H{h} {D_K}"), op)]
}

/// `rope` and `rope_fla`: the two directions.
pub fn golden(g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    ["rope", "rope_fla"].contains(&g.name).then(|| {
        let [b, t, h, d] = g.sizes("x")?;
        let op = Rope {
            b,
            t,
            h,
            d,
            base: g.needs("base")? as f32,
            direction: g.needs("direction")? as i32,
            position: false,
        };
        let x = g.input("x")?;
        Ok(vec![("y", g.graph.call(op, &[x])?[0])])
    })
}

//! Hostile shapes and values of the op, for its tests and for `check`.

use super::{INPUTS, SelectiveScan};
use crate::cases::Fill;
use crate::cases::bench::{Bench, D, Extents, Scale};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::port::OpDef;
use crate::tensor::TensorId;

/// Sequences around a chunk, several chunks in one walk and in segments, any number of channels and states, more than
/// one backward launch, decays down to 0 and up to 1; then long sequences, cut into segments and in one walk.
pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = [
        (1, 1, 1, 1),
        (2, 1, 3, 3),
        (2, 31, 3, 16),
        (1, 32, 1, 3),
        (2, 33, 32, 16),
        (1, 64, 3, 13),
        (3, 65, 2, 5),
        (1, 130, 70, 64),
        (2, 34, 33, 128),
        (1, 40, 9, 256),
        // Enough sequences that none is cut into segments.
        (140, 70, 1, 2),
        // The same for every spread of states over lanes of a subgroup.
        (140, 34, 5, 12),
        (140, 33, 6, 20),
        (140, 34, 5, 40),
        // Longer than software Vulkan walks.
        (140, 500, 3, 16),
        // Several launches, of some sequences and of some channels of one.
        (2200, 2, 1, 3),
        (1, 2, 8500, 129),
    ]
    .map(|(b, t, channels, states)| {
        let case = case("", usual(b, t, channels, states), USUAL);
        let proves = [(140, 12), (140, 40)].contains(&(b, states));
        if proves { case.self_test() } else { case }
    })
    .to_vec();
    let op = usual(2, 70, 5, 6);
    for (name, values) in [
        (" huge steps", Values { delta: 60.0, ..USUAL }),
        (
            " tiny steps",
            Values {
                delta: -14.0,
                u: 1e3,
                ..USUAL
            },
        ),
        (" no steps", Values { delta: -1e4, ..USUAL }),
        (" fast rates", Values { a_log: 9.0, ..USUAL }),
        (
            " slow rates",
            Values {
                a_log: -12.0,
                ..USUAL
            },
        ),
        (" gone at once", Values { delta: 1e3, ..USUAL }),
        (
            " equal keys",
            Values {
                equal_keys: true,
                ..USUAL
            },
        ),
    ] {
        cases.push(case(name, op.clone(), values));
    }
    // Every other variant, in segments and in one walk; of several channels, as sums over 4,760 steps that cancel to one
    // small number (d `delta_bias` of one channel) have an error of 1.1e-5 of it.
    for flags in 0..7 {
        let [gated, tied, decays] = [1, 2, 4].map(|bit| flags & bit != 0);
        for op in [
            usual(2, 70, 5, 6),
            usual(140, 34, 5, 2),
            usual(2, 70, 5, 11),
            usual(140, 34, 5, 10),
        ] {
            let op = SelectiveScan {
                gated,
                tied,
                decays,
                ..op
            };
            let lacks = [(gated, " no gate"), (tied, " not tied"), (decays, " no decay")];
            let name: String = lacks
                .into_iter()
                .filter(|(has, _)| !has)
                .map(|(_, name)| name)
                .collect();
            // Kernels of variants with more parts put together what those with fewer have.
            let parts = lacks.iter().filter(|(has, _)| *has).count();
            let alike = match op.states {
                10 => parts > 0,
                11 => parts > 1,
                _ => false,
            };
            cases.push(case(&name, op, USUAL).alike_if(alike));
        }
    }
    for (b, channels, states) in [(1, 3, 16), (140, 1, 1)] {
        let op = usual(b, 4097, channels, states);
        cases.push(case("", op, USUAL).long());
    }
    cases
}

/// Mamba's.
pub(super) fn usual(b: usize, t: usize, channels: usize, states: usize) -> SelectiveScan {
    SelectiveScan {
        b,
        t,
        channels,
        states,
        gated: true,
        tied: true,
        decays: true,
    }
}

/// Centres of the hostile values.
#[derive(Clone, Copy)]
struct Values {
    /// Of `delta_raw`.
    delta: f32,
    /// Of `A_log`, above ln(j + 1).
    a_log: f32,
    /// Scale of u.
    u: f32,
    /// All rows of Bm are the same.
    equal_keys: bool,
}

const USUAL: Values = Values {
    delta: 0.0,
    a_log: 0.0,
    u: 1.0,
    equal_keys: false,
};

fn case(name: &str, op: SelectiveScan, values: Values) -> Case {
    let (points, n) = (op.b * op.t * op.channels, op.states);
    let rows = op.b * op.t * n;
    let mut fill = Fill::new((points + n) as u64);
    let mut around = |n: usize, centre: f32, scale: f32| -> Vec<f32> {
        fill.normal(n).iter().map(|x| centre + scale * x).collect()
    };
    let mut a_log = around(op.channels * n, values.a_log, 0.1);
    for (i, a) in a_log.iter_mut().enumerate() {
        *a += ((i % n + 1) as f32).ln();
    }
    let mut keys = around(rows, 0.0, 1.0);
    if values.equal_keys {
        let (first, rest) = keys.split_at_mut(n);
        rest.chunks_mut(n).for_each(|row| row.copy_from_slice(first));
    }
    let all = [
        around(points, 0.0, values.u),
        around(points, values.delta, 1.0),
        around(points, 0.0, 1.0),
        keys,
        around(rows, 0.0, 1.0),
        a_log,
        around(op.channels, -3.5, 1.0),
        around(op.channels, 1.0, 0.1),
    ];
    let ports = op.inputs();
    let there = INPUTS
        .iter()
        .zip(all)
        .filter(|(name, _)| ports.iter().any(|p| p.name == **name));
    let inputs = there.map(|(_, values)| values.into()).collect();
    let sizes = format!("B{} T{} E{} N{n}", op.b, op.t, op.channels);
    Case::new(sizes + name, op, inputs)
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    Bench::suite(scale, "selective_scan", 2 * D, "64", |Extents { b, t, h }| {
        let op = SelectiveScan {
            b,
            t,
            channels: h,
            states: 64,
            gated: true,
            tied: true,
            decays: true,
        };
        op.into()
    })
}

/// `selective_scan`.
pub fn golden(g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    (g.name == "selective_scan").then(|| {
        let [[b, t, channels], [_, _, states]] = [g.sizes("u")?, g.sizes("Bm")?];
        let ins = g.inputs(&INPUTS)?;
        let op = usual(b, t, channels, states);
        Ok(vec![("y", g.graph.call(op, &ins)?[0])])
    })
}

//! Hostile shapes and values of the op, for its tests and for `check`.

use super::ScanStep;
use crate::cases::Fill;
use crate::cases::bench::{Bench, D, Family, Scale};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::tensor::TensorId;

/// Any number of channels and states, every combination of flags, decays down to 0 and up to 1.
pub fn cases() -> Vec<Case> {
    let op = |b, channels, states| ScanStep {
        b,
        channels,
        states,
        gated: true,
        tied: true,
        decays: true,
    };
    let sizes = [
        (1, 1, 1),
        (2, 3, 3),
        (3, 70, 16),
        (1, 33, 64),
        (2, 9, 100),
        (1, 5, 128),
        (2, 3, 256),
    ];
    let mut cases: Vec<Case> = sizes
        .into_iter()
        .map(|(b, channels, states)| case("", op(b, channels, states), USUAL))
        .collect();
    for flags in 0..7 {
        let op = ScanStep {
            gated: flags & 1 != 0,
            tied: flags & 2 != 0,
            decays: flags & 4 != 0,
            ..op(2, 65, 6)
        };
        cases.push(case("", op, USUAL));
    }
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
        (" first token", Values { state: 0.0, ..USUAL }),
    ] {
        cases.push(case(name, op(2, 5, 6), values));
    }
    cases
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
    /// Scale of the state.
    state: f32,
}

const USUAL: Values = Values {
    delta: 0.0,
    a_log: 0.0,
    u: 1.0,
    state: 1.0,
};

fn case(name: &str, op: ScanStep, values: Values) -> Case {
    let (b, e, n) = (op.b, op.channels, op.states);
    let mut fill = Fill::new((b * e + n) as u64);
    let mut around = |n: usize, centre: f32, scale: f32| -> Vec<f32> {
        fill.normal(n).iter().map(|x| centre + scale * x).collect()
    };
    let mut a_log = around(e * n, values.a_log, 0.1);
    for (i, a) in a_log.iter_mut().enumerate() {
        *a += ((i % n + 1) as f32).ln();
    }
    let inputs = [
        (true, around(b * e, 0.0, values.u)),
        (op.timed(), around(b * e, values.delta, 1.0)),
        (op.gated, around(b * e, 0.0, 1.0)),
        (true, around(b * n, 0.0, 1.0)),
        (true, around(b * n, 0.0, 1.0)),
        (op.decays, a_log),
        (op.timed(), around(e, -3.5, 1.0)),
        (true, around(e, 1.0, 0.1)),
        (true, around(b * e * n, 0.0, values.state)),
    ];
    let there = inputs.into_iter().filter(|(there, _)| *there);
    let flags = [(op.gated, " gated"), (op.tied, " tied"), (op.decays, " decays")];
    let flags = flags.map(|(on, flag)| if on { flag } else { "" }).concat();
    let name = format!("B{b} E{e} N{n}{flags}{name}");
    Case::new(name, op, there.map(|(_, x)| x.into()).collect())
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let (b, channels) = (scale.paper().b, 2 * D);
    let op = ScanStep {
        b,
        channels,
        states: 64,
        gated: true,
        tied: true,
        decays: true,
    };
    vec![Bench::token(
        Family::Recurrences,
        format!("B{b} {channels} 64"),
        op,
    )]
}

/// None: `selective_scan` has one, and the tests run both.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}

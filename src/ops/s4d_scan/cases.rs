//! Hostile shapes and values of the op, for its tests and for `check`.

use super::S4dScan;
use crate::cases::Fill;
use crate::cases::bench::{Bench, D, Extents, Scale};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::tensor::TensorId;

/// One step, steps around those staged at a time, channels around a workgroup, any number of states, several sequences
/// a partial sum; hostile parameters; then long sequences.
pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = [
        (1, 1, 1, 1),
        (2, 1, 3, 3),
        (2, 31, 3, 8),
        (3, 65, 2, 5),
        (1, 64, 130, 2),
        (2, 33, 17, 64),
        (1, 130, 20, 32),
        (5, 40, 40, 13),
        (2, 19, 33, 128),
        (1, 400, 5, 16),
        (2500, 3, 3, 4),
    ]
    .map(|(b, t, channels, states)| {
        let op = S4dScan {
            b,
            t,
            channels,
            states,
        };
        case("", op, USUAL)
    })
    .to_vec();
    let op = S4dScan {
        b: 2,
        t: 70,
        channels: 5,
        states: 6,
    };
    cases.extend(HOSTILE.map(|(name, values)| case(name, op.clone(), values)));
    // Slow states remember what rounding does to their factors. Software Vulkan takes a tenth of a second for each.
    for (channels, states) in [(3, 8), (2, 64), (16, 64)] {
        let op = S4dScan {
            b: 1,
            t: 4097,
            channels,
            states,
        };
        cases.push(case("", op, USUAL));
    }
    cases
}

/// Centres of the parameters' values.
#[derive(Clone, Copy)]
pub(crate) struct Values {
    log_dt: f32,
    /// Of `log_A_real`.
    log_a: f32,
    /// Of `A_imag`, in units of pi times the state's index.
    turn: f32,
}

pub(crate) const USUAL: Values = Values {
    log_dt: -4.6,
    log_a: -0.7,
    turn: 1.0,
};

/// Decays and turns at both ends, rates near 0.
pub(crate) const HOSTILE: [(&str, Values); 8] = [
    (" fast decay", Values { log_a: 6.0, ..USUAL }),
    (
        " slow decay",
        Values {
            log_a: -14.0,
            ..USUAL
        },
    ),
    (
        " gone at once",
        Values {
            log_a: 80.0,
            log_dt: 3.0,
            ..USUAL
        },
    ),
    (" fast turns", Values { turn: 300.0, ..USUAL }),
    (" no turns", Values { turn: 0.0, ..USUAL }),
    (
        " rates near 0",
        Values {
            log_a: -30.0,
            turn: 1e-5,
            ..USUAL
        },
    ),
    (
        " tiny steps",
        Values {
            log_dt: -16.0,
            ..USUAL
        },
    ),
    (" large steps", Values { log_dt: 2.0, ..USUAL }),
];

/// `log_dt`, C, `log_A_real`, `A_imag` and D of `d` channels with `n` complex states.
pub(crate) fn parameters(fill: &mut Fill, d: usize, n: usize, values: Values) -> [Vec<f32>; 5] {
    let log_dt = fill.uniform(d, values.log_dt - 2.3, values.log_dt + 2.3);
    let c = fill.normal(2 * d * n);
    let log_a = fill
        .normal(d * n)
        .iter()
        .map(|x| values.log_a + 0.2 * x)
        .collect();
    let mut imag = fill.normal(d * n);
    for (i, x) in imag.iter_mut().enumerate() {
        *x = values.turn * std::f32::consts::PI * ((i % n) as f32 + 0.1 * *x);
    }
    [log_dt, c, log_a, imag, fill.normal(d)]
}

fn case(name: &str, op: S4dScan, values: Values) -> Case {
    let (points, d, n) = (op.b * op.t * op.channels, op.channels, op.states);
    let mut fill = Fill::new((points + n) as u64);
    let mut inputs = vec![fill.normal(points).into()];
    inputs.extend(parameters(&mut fill, d, n, values).map(Into::into));
    let sizes = format!("B{} T{} d{d} N/2 {n}", op.b, op.t);
    Case::new(sizes + name, op, inputs)
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    Bench::suite(scale, "s4d_scan", D, "64 complex", |Extents { b, t, h }| {
        let op = S4dScan {
            b,
            t,
            channels: h,
            states: 64,
        };
        op.into()
    })
}

/// The golden model `s4` holds it.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}

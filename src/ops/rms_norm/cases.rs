//! Hostile shapes and values of the op, for its tests and for `check`.

use super::{Kind, RmsNorm};
use crate::cases::Fill;
use crate::cases::bench::{Bench, D, D_V, Family, HEADS, Scale};
use crate::cases::{Case, Golden, Values};
use crate::error::Result;
use crate::tensor::TensorId;

const KINDS: [Kind; 5] = [
    Kind::Plain,
    Kind::OuterEps,
    Kind::GateAfter,
    Kind::GateBefore,
    Kind::SigmoidAfter,
];

/// All of them.
pub fn cases() -> Vec<Case> {
    [smooth(), extreme()].concat()
}

fn case(name: &str, op: RmsNorm, scale: impl Fn(usize) -> f32) -> Case {
    let (n, d) = (op.rows * op.d, op.d);
    let mut fill = Fill::new((n + op.kind as usize) as u64);
    let mut x = fill.normal(n);
    x.iter_mut().enumerate().for_each(|(i, x)| *x *= scale(i / d));
    let mut inputs: Vec<Values> = vec![x.into()];
    if op.kind.gated() {
        inputs.push(fill.normal(n).into());
    }
    inputs.push(fill.uniform(d, 0.5, 1.5).into());
    Case::new(format!("{:?} {name}", op.kind), op, inputs)
}

/// Widths and row counts around every tile; eps of the size of the squares where the row is so narrow that without
/// it the gradient would vanish.
pub fn smooth() -> Vec<Case> {
    let sized = |rows: usize, d: usize, eps: f32, kind| {
        case(
            &format!("rows{rows} d{d}"),
            RmsNorm { rows, d, eps, kind },
            |_| 1.0,
        )
    };
    let mut cases = Vec::new();
    for kind in KINDS {
        let inner = if kind == Kind::OuterEps { 1e-8 } else { 1e-5 };
        cases.push(sized(64, 1, 0.5, kind));
        cases.push(sized(65, 60, inner, kind));
    }
    for (rows, d) in [
        (63, 3),
        (500, 4),
        (500, 16),
        (33, 81),
        (17, 162),
        (11, 256),
        (5, 1000),
        (1, 2592),
    ] {
        cases.push(sized(rows, d, 1e-5, KINDS[2 * (rows % 2)]));
    }
    // More row groups than partial sums.
    cases.push(sized(9000, 33, 1e-5, Kind::GateBefore));
    cases
}

/// Rows of zeros and magnitudes at both ends of the range.
fn extreme() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in KINDS {
        let eps = if kind == Kind::OuterEps { 1e-8 } else { 1e-5 };
        let op = |eps| RmsNorm {
            rows: 9,
            d: 81,
            eps,
            kind,
        };
        cases.push(case("zero rows", op(eps), |row| [0.0, 1.0, 0.0, 1e-3][row % 4]));
        cases.push(case("huge", op(eps), |_| 1e15));
    }
    for (kind, eps) in [
        (Kind::Plain, 1e-30),
        (Kind::OuterEps, 1e-15),
        (Kind::OuterEps, 1e-8),
    ] {
        let op = RmsNorm {
            rows: 9,
            d: 81,
            eps,
            kind,
        };
        cases.push(case(&format!("tiny eps{eps:e}"), op, |_| 1e-15));
    }
    cases
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let (rows, heads) = (scale.rows(), scale.rows() * HEADS);
    let of = |name, rows, d, kind, source| {
        let op = RmsNorm {
            rows,
            d,
            eps: 1e-5,
            kind,
        };
        let bench = Bench::new(Family::Norms, format!("{rows}x{d}"), op);
        bench.kind(name).source(source)
    };
    let recurrences = "heads of the paper's recurrences";
    let transformer = "the paper's Transformer";
    let gated = "the paper's Gated DeltaNet";
    vec![
        of("rms_norm", heads, D_V, Kind::Plain, recurrences),
        of("rms_norm_outer_eps", rows, D, Kind::OuterEps, transformer),
        of("rms_norm_gate_after", heads, D_V, Kind::GateAfter, gated),
        of(
            "rms_norm_gate_before",
            rows,
            2 * D,
            Kind::GateBefore,
            "the paper's Mamba2",
        ),
    ]
}

/// The `rmsnorm` files.
pub fn golden(g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    let kind = match g.name {
        "rmsnorm" => Kind::Plain,
        "rmsnorm_outer_eps" => Kind::OuterEps,
        "rmsnorm_gate_after" => Kind::GateAfter,
        "rmsnorm_gate_before" => Kind::GateBefore,
        "rmsnorm_sigmoid_gate" => Kind::SigmoidAfter,
        _ => return None,
    };
    let names: &[&str] = if kind.gated() {
        &["x", "g", "w"]
    } else {
        &["x", "w"]
    };
    let build = |g: &mut Golden<'_>| {
        let [rows, d] = g.rows("x")?;
        let eps = g.needs("eps")? as f32;
        let ins = g.inputs(names)?;
        Ok(vec![(
            "y",
            g.graph.call(RmsNorm { rows, d, eps, kind }, &ins)?[0],
        )])
    };
    Some(build(g))
}

//! Hostile shapes and values of the op, for its tests and for `check`.

use super::SsmGate;
use crate::cases::Fill;
use crate::cases::bench::{Bench, D_K, Family, HEADS, Scale};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::ops::Decay;
use crate::ops::linear_attention::{CHUNK, LinearAttention};
use crate::ops::skip::Skip;
use crate::tensor::TensorId;

/// Widths around a row's threads, head counts around the workgroup, both tails of softplus, no decay.
pub fn cases() -> Vec<Case> {
    let sizes = [
        (1, 1, 1),
        (3, 2, 4),
        (65, 3, 18),
        (17, 40, 33),
        (5, 257, 2),
        (3, 2, 600),
    ];
    let mut cases = sizes.map(|sizes| case("", sizes, 1.0, 0.0)).to_vec();
    cases.push(case(" lower tail", (65, 8, 3), 1.0, -14.0));
    cases.push(case(" upper tail", (65, 8, 3), 1.0, 50.0));
    cases.push(case(" saturated", (65, 8, 3), 200.0, 0.0));
    cases
}

/// `A_log` at the ends of its initial range and, for every third head, a decay of nothing.
fn case(name: &str, (rows, h, p): (usize, usize, usize), scale: f32, shift: f32) -> Case {
    let mut fill = Fill::new((rows * h + p) as u64);
    let x = fill.normal(rows * h * p);
    let dt_raw: Vec<f32> = fill.normal(rows * h).iter().map(|y| y * scale + shift).collect();
    let dt_bias = fill.uniform(h, -7.0, -2.0);
    let a_log: Vec<f32> = (0..h).map(|i| [2.77, 0.0, -60.0][i % 3]).collect();
    let inputs = vec![x.into(), dt_raw.into(), dt_bias.into(), a_log.into()];
    let mut case = Case::new(
        format!("rows{rows} h{h} p{p}{name}"),
        SsmGate { rows, h, p },
        inputs,
    );
    case.outputs = 2;
    case
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let (rows, h, p) = (scale.rows(), 2 * HEADS, D_K);
    let shape = format!("{rows}x{h} {p}");
    vec![Bench::new(Family::Elementwise, shape, SsmGate { rows, h, p })]
}

/// `mamba2_ssd`: this op, linear attention with shared q and k, and the skip.
pub fn golden(g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    (g.name == "mamba2_ssd").then(|| {
        g.only("ngroups", 1.0)?;
        let ([b, t, h, p], [.., d_k]) = (g.sizes("x")?, g.rows("Bm")?);
        let gate = SsmGate { rows: b * t, h, p };
        let scan = LinearAttention {
            b,
            t,
            h,
            d_k,
            d_v: p,
            scale: 1.0,
            decay: Decay::Scalar,
            shared_qk: true,
            chunk: CHUNK,
        };
        let skip = Skip { rows: b * t, h, p };
        let (x, d) = (g.input("x")?, g.input("D")?);
        let ins = g.inputs(&["x", "dt_raw", "dt_bias", "A_log"])?;
        let gates = g.graph.call(gate, &ins)?;
        let ins = [g.input("Cm")?, g.input("Bm")?, gates[1], gates[0]];
        let o = g.graph.call(scan, &ins)?[0];
        Ok(vec![("y", g.graph.call(skip, &[o, x, d])?[0])])
    })
}

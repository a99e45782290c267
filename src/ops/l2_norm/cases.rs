//! Hostile shapes and values of the op, for its tests and for `check`.

use super::L2Norm;
use crate::cases::Fill;
use crate::cases::bench::{Bench, D_K, Family, HEADS, Scale};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::tensor::TensorId;

/// All of them.
pub fn cases() -> Vec<Case> {
    [smooth(), extreme()].concat()
}

/// Widths and row counts around every tile; eps of the size of the squares where the row is so narrow that without
/// it the gradient would vanish.
pub fn smooth() -> Vec<Case> {
    let shapes = [
        (1, 1, 0.5),
        (65, 1, 0.5),
        (64, 3, 1e-6),
        (63, 4, 1e-6),
        (500, 16, 1e-6),
        (65, 60, 1e-6),
        (33, 81, 1e-6),
        (9, 162, 1e-6),
        (7, 256, 1e-6),
        (5, 1000, 1e-6),
        (3, 2592, 1e-6),
    ];
    let case = |&(rows, d, eps): &(usize, usize, f32)| {
        let x = Fill::new((rows * d) as u64).normal(rows * d);
        Case::new(
            format!("rows{rows} d{d}"),
            L2Norm {
                rows,
                d,
                eps,
                wide: false,
            },
            vec![x.into()],
        )
    };
    shapes.iter().map(case).collect()
}

/// Rows of zeros, rows near zero, and lengths at both ends of the range.
fn extreme() -> Vec<Case> {
    let scaled = |name: &str, eps: f32, scale: fn(usize) -> f32| {
        let (rows, d) = (9, 81);
        let mut x = Fill::new(77).normal(rows * d);
        x.iter_mut().enumerate().for_each(|(i, x)| *x *= scale(i / d));
        Case::new(
            name,
            L2Norm {
                rows,
                d,
                eps,
                wide: false,
            },
            vec![x.into()],
        )
    };
    vec![
        scaled("zero rows", 1e-6, |_| 0.0),
        scaled("near zero", 1e-6, |row| [0.0, 1e-5, 1e-4, 1e-3][row % 4]),
        scaled("tiny", 1e-30, |_| 1e-15),
        scaled("huge", 1e-6, |_| 1e15),
    ]
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let (rows, d) = (scale.rows() * HEADS, D_K);
    let op = L2Norm {
        rows,
        d,
        eps: 1e-6,
        wide: false,
    };
    vec![Bench::new(Family::Norms, format!("{rows}x{d}"), op)]
}

/// `l2norm`.
pub fn golden(g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    (g.name == "l2norm").then(|| {
        let [rows, d] = g.rows("x")?;
        let eps = g.needs("eps")? as f32;
        let x = g.input("x")?;
        Ok(vec![(
            "y",
            g.graph.call(
                L2Norm {
                    rows,
                    d,
                    eps,
                    wide: false,
                },
                &[x],
            )?[0],
        )])
    })
}

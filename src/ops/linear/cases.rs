//! Hostile shapes and values of the op, for its tests and for `check`.

use super::Linear;
use crate::cases::Fill;
use crate::cases::bench::{Bench, D, Family, Scale, VOCAB};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::tensor::TensorId;

/// Shapes and magnitudes.
pub fn cases() -> Vec<Case> {
    [shapes(), magnitudes(), vec![thin_wave()]].concat()
}

/// Tiles of 128 x 128 that fill a large card twice, and four more.
fn thin_wave() -> Case {
    let shape @ (rows, inp, out) = (33_930, 256, 256);
    let mut fill = Fill::new(5);
    let (x, w) = (fill.normal(rows * inp), fill.normal(inp * out));
    case("thin last wave".to_owned(), shape, x, w, Some(fill.normal(out))).long()
}

/// Every tile, layout and alignment of the plain kernels; on adapters with matrix units whole tiles and tails in each
/// extent; cut sums.
pub(super) fn shapes() -> Vec<Case> {
    // rows, inputs, outputs
    const SHAPES: &[(usize, usize, usize)] = &[
        (1, 1, 1),
        (3, 2, 5),
        (1, 64, 41),      // one row
        (70, 1, 70),      // one input
        (33, 41, 4),      // vocabulary in, classes out
        (64, 41, 81),     // nothing is a multiple of 4
        (100, 32, 1601),  // a wide head
        (128, 128, 128),  // whole tiles
        (256, 128, 256),  // several of them
        (256, 640, 128),  // and sums too long for one set of accumulators
        (130, 100, 162),  // tails in every extent, vec4 loads in some
        (67, 97, 129),    // tails in every extent, scalar loads
        (3000, 64, 64),   // a sum over rows that is cut
        (2900, 70, 3),    // the same, narrow
        (5, 1030, 1028),  // few rows, large weights: tiles of 128 for dW
        (2100, 9, 500),   // tiles of 128, y
        (2100, 500, 9),   // tiles of 128, dx
        (1000, 250, 10),  // tiles of 64
        (1000, 330, 162), // tails in every extent, and sums long enough to carry accumulators
        (300, 200, 272),  // tails of whole quads in every extent
        (333, 140, 8),    // dx from few columns, tails of rows and of threads
        (50, 36, 16),
        (8200, 520, 8), // gates of heads: most of a tile of matrix units is padding
        (8200, 514, 9),
    ];
    let mut cases = Vec::new();
    for (i, &(rows, inp, out)) in SHAPES.iter().enumerate() {
        let bias = i % 3 != 2;
        let name = format!("{rows}x{inp}x{out}{}", if bias { " bias" } else { "" });
        let mut fill = Fill::new(i as u64);
        let (x, w) = (fill.normal(rows * inp), fill.normal(inp * out));
        let case = case(name, (rows, inp, out), x, w, bias.then(|| fill.normal(out)));
        let carries = [
            (1000, 330, 162),
            (300, 200, 272),
            (128, 128, 128),
            (256, 640, 128),
            (8200, 520, 8),
        ]
        .contains(&(rows, inp, out));
        cases.push(if carries { case.self_test() } else { case });
    }
    cases
}

/// Large next to small: between the operands, within them, and an operand of zeros.
fn magnitudes() -> Vec<Case> {
    let (rows, inp, out) = (70, 66, 68);
    let mut fill = Fill::new(77);
    let mut scaled =
        |n: usize, scale: f32| -> Vec<f32> { fill.normal(n).iter().map(|v| v * scale).collect() };
    let (large, small) = (scaled(rows * inp, 1e4), scaled(inp * out, 1e-4));
    let (tiny, huge) = (scaled(rows * inp, 1e-30), scaled(inp * out, 1e30));
    let mut decades = scaled(rows * inp, 1.0);
    for (i, row) in decades.chunks_mut(inp).enumerate() {
        let scale = 10f32.powf(4.0 - 9.0 * i as f32 / (rows - 1) as f32);
        row.iter_mut().for_each(|v| *v *= scale);
    }
    let (x, w, b) = (scaled(rows * inp, 1.0), scaled(inp * out, 1.0), scaled(out, 1.0));
    let zeros = vec![0.0; rows * inp];
    let shape = (rows, inp, out);
    vec![
        case("large x, small w".to_owned(), shape, large, small, None),
        case("tiny x, huge w".to_owned(), shape, tiny, huge, None),
        case("rows of nine decades".to_owned(), shape, decades, w.clone(), None),
        case("zero x".to_owned(), shape, zeros, w, Some(b)),
        case("zero w".to_owned(), shape, x, vec![0.0; inp * out], None),
    ]
}

fn case(
    name: String,
    (rows, inp, out): (usize, usize, usize),
    x: Vec<f32>,
    w: Vec<f32>,
    b: Option<Vec<f32>>,
) -> Case {
    let op = Linear {
        rows,
        inp,
        out,
        bias: b.is_some(),
    };
    let inputs = [Some(x), Some(w), b]
        .into_iter()
        .flatten()
        .map(Into::into)
        .collect();
    Case::new(name, op, inputs)
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let rows = scale.rows();
    let square = scale.divide(4096);
    let of = |rows, inp, out, bias, source| {
        let op = Linear { rows, inp, out, bias };
        Bench::new(Family::Dense, format!("{rows}x{inp}x{out}"), op).source(source)
    };
    let key = "a query or key projection of the paper's stack";
    let value = "a value or gate projection of the paper's stack";
    let forward = "the feed-forward layer of the paper's Transformer";
    vec![
        of(
            square,
            4096,
            4096,
            false,
            "a square product, as GEMMs are compared",
        ),
        of(rows, VOCAB, D, true, "the encoder of the paper's stack"),
        of(rows, D, D, false, key),
        of(rows, D, 2 * D, false, value),
        of(rows, 2 * D, D, false, "an output projection of the paper's stack"),
        of(rows, D, 8 * D, true, forward),
    ]
}

/// The model fixtures hold it.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}

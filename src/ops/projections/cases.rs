//! Hostile shapes and values of the op, for its tests and for `check`.

use super::Projections;
use crate::cases::bench::{Bench, D, Family, Scale};
use crate::cases::{Case, Fill, Golden};
use crate::error::Result;
use crate::tensor::TensorId;

/// Shapes on both sides of what one product takes, and magnitudes.
pub fn cases() -> Vec<Case> {
    // rows, inputs, outputs
    const SHAPES: &[(usize, usize, &[usize])] = &[
        (1, 128, &[1, 1]),
        (3, 32, &[4, 12, 5]),
        (5, 54, &[12, 3, 8]), // matrices that begin at no legal binding offset
        (70, 64, &[2, 66, 130, 41]),
        (128, 128, &[32, 64]), // one product of whole tiles, pieces of a step each and two
        (300, 200, &[96, 32, 160, 64]), // tails in both extents
        (256, 256, &[256, 256, 512]), // sums too long for one set of accumulators
        (200, 136, &[32, 48, 32]), // a piece that ends within a step
        (160, 144, &[72, 40, 20]), // pieces that end within steps, as all of them do
        (160, 144, &[68, 46, 24]), // no quads: one after the other
        (160, 148, &[68, 44, 20]), // the same, but as one product
        (130, 256, &[32, 64, 32, 96, 32, 40]),
        (400, 192, &[256, 128, 384, 24]), // pieces of whole tiles, but for the last one
        (2200, 128, &[32, 32]),           // sums over rows that are cut
    ];
    let mut cases: Vec<Case> = Vec::new();
    for (i, &(rows, inp, outs)) in SHAPES.iter().enumerate() {
        let mut fill = Fill::new(i as u64);
        let (x, w) = (
            fill.normal(rows * inp),
            fill.normal(outs.iter().sum::<usize>() * inp),
        );
        let case = case(format!("{rows}x{inp}x{outs:?}"), rows, inp, outs, x, w);
        cases.push(match rows {
            128 | 160 | 300 | 400 => case.self_test(),
            _ => case,
        });
    }
    cases.push(magnitudes());
    cases.push(thin_wave());
    cases
}

/// Layers whose weights, and so shares of the input gradient, are six decades apart.
fn magnitudes() -> Case {
    let (rows, inp, outs) = (140, 132, [32, 64, 32]);
    let mut fill = Fill::new(77);
    let x = fill.normal(rows * inp);
    let mut w = fill.normal(outs.iter().sum::<usize>() * inp);
    w[..32 * inp].iter_mut().for_each(|v| *v *= 1e-3);
    w[96 * inp..].iter_mut().for_each(|v| *v *= 1e3);
    case("weights of six decades".to_owned(), rows, inp, &outs, x, w)
}

/// Tiles of 128 x 128 that fill a large card twice, and four more: of dx, whose parts along k begin within pieces and between
/// them, and of y, whose pieces end within tiles.
fn thin_wave() -> Case {
    let (rows, inp, outs) = (33_928, 256, [128, 136, 152]);
    let mut fill = Fill::new(5);
    let (x, w) = (fill.normal(rows * inp), fill.normal(416 * inp));
    case("thin last wave".to_owned(), rows, inp, &outs, x, w).long()
}

fn case(name: String, rows: usize, inp: usize, outs: &[usize], x: Vec<f32>, w: Vec<f32>) -> Case {
    let (outputs, outs) = (outs.len(), outs.to_vec());
    let op = Projections { rows, inp, outs };
    Case {
        outputs,
        ..Case::new(name, op, vec![x.into(), w.into()])
    }
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let rows = scale.rows();
    let outs = vec![D, D, 2 * D, 2 * D];
    let op = Projections { rows, inp: D, outs };
    let source = "queries, keys, values and gates of a layer of the paper's stack";
    vec![Bench::new(Family::Dense, format!("{rows}x{D}x{}", 6 * D), op).source(source)]
}

/// The model fixtures hold it.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}

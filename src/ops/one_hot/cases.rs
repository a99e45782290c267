//! Hostile shapes and values of the op, for its tests and for `check`.

use super::{Noise, OneHot};
use crate::cases::Fill;
use crate::cases::bench::{Bench, Extents, Family, Scale, VOCAB};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::tensor::TensorId;

/// Vocabularies around a workgroup's width and a counter's four channels, rows without a symbol, samples that end early,
/// counters at the ends of their range.
pub fn cases() -> Vec<Case> {
    let symbols = |rows, vocab| {
        let mut symbols = Fill::new(1).below(rows, vocab as u32);
        symbols.iter_mut().skip(1).step_by(2).for_each(|s| *s = u32::MAX);
        symbols
    };
    let plain = [(1, 1), (3, 41), (100, 53), (700, 9)]
        .into_iter()
        .map(|(rows, vocab)| {
            let op = OneHot {
                rows,
                vocab,
                noise: Noise::None,
            };
            Case::new(
                format!("rows{rows} V{vocab}"),
                op,
                vec![symbols(rows, vocab).into()],
            )
        });
    let drawn = [(1, 1, 1), (2, 3, 41), (3, 100, 53), (1, 700, 255)]
        .into_iter()
        .map(|(b, t, vocab)| {
            let noise = Noise::Philox { t, level: 0.2 };
            let op = OneHot {
                rows: b * t,
                vocab,
                noise,
            };
            let sample = |i: usize| match i {
                0 => [1, 0, 0, t as u32],
                1 => [u32::MAX, 2, u32::MAX, (t / 2) as u32],
                _ => [42, 1, 999, 0],
            };
            let samples: Vec<u32> = (0..b).flat_map(sample).collect();
            let inputs = vec![symbols(b * t, vocab).into(), samples.into()];
            Case::new(format!("noise B{b} T{t} V{vocab}"), op, inputs)
        });
    let given = [(1, 1), (70, 41)].into_iter().map(|(rows, vocab)| {
        let op = OneHot {
            rows,
            vocab,
            noise: Noise::Given { level: 0.3 },
        };
        let noise = Fill::new(2).uniform(rows * vocab, 0.0, 1.0);
        Case::new(
            format!("given noise rows{rows} V{vocab}"),
            op,
            vec![symbols(rows, vocab).into(), noise.into()],
        )
    });
    plain.chain(drawn).chain(given).collect()
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let Extents { b, t, .. } = scale.paper();
    let op = OneHot {
        rows: b * t,
        vocab: VOCAB,
        noise: Noise::Philox { t, level: 0.2 },
    };
    vec![Bench::new(Family::Dense, format!("{}x{VOCAB}", b * t), op)]
}

/// The grammar fixtures hold it.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}

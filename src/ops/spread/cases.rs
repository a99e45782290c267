//! Hostile shapes and values of the op, for its tests and for `check`.

use super::{Part, Spread};
use crate::cases::Fill;
use crate::cases::bench::{Bench, Extents, Family, Scale};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::tensor::TensorId;

/// Windows of one step and of many, samples that end early, an empty sample, one element.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (i, (b, t, e)) in [(1, 1, 1), (3, 7, 2), (2, 300, 41), (4, 1100, 200), (5, 64, 33)]
        .into_iter()
        .enumerate()
    {
        for part in [Part::Whole, Part::First] {
            let mut fill = Fill::new(i as u64);
            let lengths = fill.below(b * e, (t / e).max(1) as u32);
            let values = fill.below(b * e, 1601);
            let mut windows = Vec::new();
            for sample in 0..b {
                let mut first = 0;
                for element in 0..e {
                    // The last sample is empty, the one before ends after half of its elements.
                    let is_left_out = b > 1 && (sample == b - 1 || sample == b - 2 && element >= e / 2);
                    let len = if is_left_out {
                        0
                    } else {
                        1 + lengths[sample * e + element]
                    };
                    windows.extend([first, len]);
                    first += len;
                }
            }
            let op = Spread { b, t, e, part };
            cases.push(Case::new(
                format!("B{b} T{t} E{e} {part:?}"),
                op,
                vec![windows.into(), values.into()],
            ));
        }
    }
    cases
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let Extents { b, t, .. } = scale.paper();
    let e = (t / 2).max(1);
    let part = Part::Whole;
    let op = Spread { b, t, e, part };
    vec![Bench::new(Family::Dense, format!("{b}x{t}x{e}"), op)]
}

/// The grammar fixtures hold it.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}

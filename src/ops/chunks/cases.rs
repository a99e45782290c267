//! What the hostile cases of the matrix-state recurrences share.

use crate::cases::Fill;

/// Steps of the long cases: many chunks of every length, and one step more.
pub(crate) const LONG: usize = 4097;

/// How log decays or write strengths are drawn.
#[derive(Clone, Copy)]
pub(crate) enum Draw {
    /// All the same.
    All(f32),
    /// Uniform.
    Uniform(f32, f32),
    /// One of these.
    OneOf(&'static [f32]),
}

impl Draw {
    /// `n` of them.
    pub(crate) fn fill(self, fill: &mut Fill, n: usize) -> Vec<f32> {
        match self {
            Self::All(x) => vec![x; n],
            Self::Uniform(lo, hi) => fill.uniform(n, lo, hi),
            Self::OneOf(list) => {
                let picks = fill.below(n, list.len() as u32);
                picks.into_iter().map(|i| list[i as usize]).collect()
            }
        }
    }
}

/// Makes the keys of all tokens, `width` numbers each, those of the first.
pub(crate) fn equal_keys(k: &mut [f32], width: usize) {
    let (first, rest) = k.split_at_mut(width);
    rest.chunks_mut(width)
        .for_each(|keys| keys.copy_from_slice(first));
}

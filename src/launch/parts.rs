//! Calls with much scratch memory: the launches for some of the sequences after those for others, in the same memory.

use super::{GpuOut, Lower, View, Views};
use std::ops::Range;

/// Alignment of what is bound, in bytes.
const ALIGN: usize = 256;

impl View {
    /// What it has of the sequences `part` of `b`, its outermost dimension.
    pub(crate) fn sequences(self, b: usize, part: &Range<usize>) -> Self {
        let each = self.len / b;
        self.part(each * part.start, each * part.len())
    }

    /// The fewest of its `b` sequences that end where the next can be bound: a power of two.
    pub(crate) fn step(self, b: usize) -> usize {
        let bytes = self.len / b * self.dtype.bytes();
        ALIGN >> bytes.trailing_zeros().min(ALIGN.trailing_zeros())
    }
}

impl Views {
    /// What they have of the sequences `part` of `b`.
    pub(crate) fn sequences(&self, b: usize, part: &Range<usize>) -> Self {
        let of = |view: View| view.sequences(b, part);
        self.map(
            |view| of(*view),
            |out| GpuOut {
                view: of(out.view),
                ..*out
            },
        )
    }
}

/// Sequences of a call that are apart in all that it reads and writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sequences {
    /// All of them.
    pub(crate) b: usize,
    /// Where a part can begin: at multiples of so many.
    pub(crate) step: usize,
    /// A part has so many if all have: enough to keep a large GPU busy, at least one.
    pub(crate) least: usize,
}

impl Sequences {
    /// Those of a part, where scratch memory has room for `fit`: of the fewest parts of one size, the last of which may have
    /// fewer.
    fn of_part(self, fit: usize) -> usize {
        let Self { b, step, least } = self;
        if b <= fit.max(least) {
            return b;
        }
        let most = (fit / step * step).max(least.next_multiple_of(step));
        let parts = b.div_ceil(most);
        b.div_ceil(parts).next_multiple_of(step).min(b)
    }
}

impl Lower<'_> {
    /// The launches of `lower` for all sequences or, where these need more scratch memory than
    /// [`Caps::scratch_bytes`](super::Caps::scratch_bytes), by parts that do not (see `Sequences`), in the same memory. `lower` asks for
    /// the same scratch in the same order whatever the part, as much as the part has sequences.
    pub(crate) fn in_parts(&mut self, all: Sequences, lower: impl Fn(&mut Self, Range<usize>)) {
        let few = all.step.min(all.b);
        let mut trial = Lower::new(self.caps, self.precision);
        trial.begin(self.call, self.variant);
        lower(&mut trial, 0..few);
        let bytes: u64 = trial.out.scratch.iter().map(|s| 4 * s.words as u64).sum();
        let fit = self.caps.scratch_bytes.saturating_mul(few as u64) / bytes.max(1);
        let n = all.of_part(usize::try_from(fit).unwrap_or(usize::MAX));

        let first = self.out.scratch.len();
        for start in (0..all.b).step_by(n) {
            self.again = first..self.out.scratch.len();
            lower(self, start..(start + n).min(all.b));
        }
        self.again = 0..0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::{Caps, Source};
    use crate::tensor::{Dtype, Precision};

    #[test]
    fn parts_are_the_fewest_that_fit() {
        for (b, fit) in (1..70).flat_map(|b| (0..80).map(move |fit| (b, fit))) {
            for (step, least) in [(1, 1), (1, 8), (2, 1), (2, 5), (8, 1), (8, 20), (128, 1)] {
                let n = Sequences { b, step, least }.of_part(fit);
                let what = format!("{b} sequences, room for {fit}, by {step}, at least {least}: {n}");
                if b <= fit.max(least) {
                    assert_eq!(n, b, "{what}");
                    continue;
                }
                let most = (fit / step * step).max(least.next_multiple_of(step));
                assert!(n == b || n.is_multiple_of(step), "{what}");
                assert!((1..=most).contains(&n), "{what}");
                assert!((b.div_ceil(n) - 1) * most < b, "{what}");
            }
        }
    }

    #[test]
    fn parts_begin_where_views_can_be_bound() {
        for (each, dtype) in [
            (1, Dtype::F16),
            (3, Dtype::F32),
            (96, Dtype::F16),
            (64, Dtype::F32),
        ] {
            let view = View {
                source: Source::Slots,
                offset: 0,
                len: 12 * each,
                dtype,
            };
            let aligned = |n: &usize| (n * each * dtype.bytes()).is_multiple_of(ALIGN);
            assert_eq!(Some(view.step(12)), (1..).find(aligned));
            let part = view.sequences(12, &(4..7));
            assert_eq!((part.offset, part.len), (4 * each, 3 * each));
        }
    }

    #[test]
    fn parts_have_the_same_scratch_memory() {
        let caps = Caps {
            scratch_bytes: 4 * 1000,
            ..Caps::webgpu_default()
        };
        let mut l = Lower::new(&caps, Precision::Mixed);
        let before = l.scratch(7);
        let (b, step, least) = (10, 1, 1);
        let seen = std::cell::RefCell::new(Vec::new());
        l.in_parts(Sequences { b, step, least }, |l, part| {
            let views = [l.scratch(100 * part.len()), l.scratch_f16(101 * part.len())];
            seen.borrow_mut().push((part, views));
        });
        let after = l.scratch(9);
        let seen = seen.into_inner();
        // The first was to find out how much a sequence needs.
        let parts: Vec<Range<usize>> = seen.iter().skip(1).map(|(part, _)| part.clone()).collect();
        assert_eq!(parts, [0..5, 5..10]);
        assert_eq!(seen[1].1, seen[2].1);
        assert!(seen[1].1.iter().all(|view| ![before, after].contains(view)));
        let words: Vec<usize> = l.finish().scratch.iter().map(|s| s.words).collect();
        assert_eq!(words, [7, 500, 253, 9]);
    }
}

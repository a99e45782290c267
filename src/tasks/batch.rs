//! Samples as they are asked for, and batches of them as a model reads them.

use super::data::{DataSet, Split};

/// A step whose input row is zero.
pub const NO_SYMBOL: u32 = u32::MAX;
/// A step or window without a target.
pub const IGNORE: u32 = u32::MAX;

/// One sequence, without gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Symbol id of each element, `[length]`.
    pub symbols: Vec<u32>,
    /// Class id of each element, `[length]`.
    pub targets: Vec<u32>,
}

/// Samples as a model reads them. B samples of T steps; E elements each. Row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Samples, B.
    pub b: usize,
    /// Steps of the longest sample, T.
    pub t: usize,
    /// Index of the first sample in its split.
    pub first_idx: u64,
    /// `[B, T]` symbol id of each step; [`NO_SYMBOL`] is a zero input row.
    pub symbols: Vec<u32>,
    /// `[B, T]` class id of each step; [`IGNORE`] is a step without a target.
    pub labels: Vec<u32>,
    /// `[B, E]` first step and number of steps of each element, its gap included; length 0 is padding.
    pub windows: Vec<[u32; 2]>,
    /// `[B, E]` class id of each element.
    pub window_labels: Vec<u32>,
    /// Elements of a sample, E.
    pub elements: usize,
    /// Steps with a target, over all samples.
    pub tokens: usize,
}

impl Batch {
    /// Bytes of a batch of so many samples of `t` steps and `e` elements.
    pub fn bytes(b: usize, t: usize, e: usize) -> u64 {
        let sample = (8 * t as u64).saturating_add(12 * e as u64);
        sample.saturating_mul(b as u64)
    }
}

impl DataSet {
    /// One sample.
    ///
    /// # Panics
    /// As [`Self::states_into`].
    pub fn sample(&self, split: Split, idx: u64) -> Sample {
        let states = self.states(split, idx);
        let symbols = states.iter().map(|&s| self.symbol(s)).collect();
        let targets = states.iter().map(|&s| self.class(s)).collect();
        Sample { symbols, targets }
    }

    fn symbol(&self, state: u16) -> u32 {
        u32::from(self.grammar().symbols()[usize::from(state)])
    }

    fn class(&self, state: u16) -> u32 {
        self.grammar().ids()[usize::from(state)]
    }

    /// Samples `first_idx .. first_idx + b` of a split. Training samples go round: after the last comes the
    /// first.
    ///
    /// # Panics
    /// For a validation or test sample at or beyond the split's count.
    pub fn batch(&self, split: Split, first_idx: u64, b: usize) -> Batch {
        let elements = self.spec().length;
        let t = self.max_steps(split);
        let window = 1 + self.gap_steps(split);
        let mut batch = Batch {
            b,
            t,
            first_idx,
            symbols: vec![NO_SYMBOL; b * t],
            labels: vec![IGNORE; b * t],
            windows: Vec::with_capacity(b * elements),
            window_labels: Vec::with_capacity(b * elements),
            elements,
            tokens: b * t,
        };
        let (mut sampler, mut states) = self.scratch();
        for row in 0..b {
            let mut idx = first_idx + row as u64;
            if split == Split::Train {
                idx %= self.spec().train;
            }
            self.states_into(split, idx, &mut sampler, &mut states);
            let mut start = 0;
            for &state in &states {
                let steps = row * t + start as usize..row * t + (start + window) as usize;
                batch.symbols[steps.start] = self.symbol(state);
                batch.labels[steps].fill(self.class(state));
                batch.windows.push([start, window]);
                batch.window_labels.push(self.class(state));
                start += window;
            }
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::Splits;
    use crate::tasks::data::tests::{grammar, spec};

    #[test]
    fn batch_places_symbols_gaps_and_windows() {
        let data = DataSet::new(grammar(), spec(Splits::Disjoint), 2).unwrap();
        for (split, window) in [(Split::Train, 2), (Split::Test, 4)] {
            let batch = data.batch(split, 3, 5);
            assert_eq!(
                (batch.t, batch.elements, batch.tokens),
                (20 * window, 20, 5 * 20 * window)
            );
            for row in 0..5 {
                let sample = data.sample(split, 3 + row as u64);
                for e in 0..20 {
                    let at = row * 20 + e;
                    assert_eq!(batch.windows[at], [(e * window) as u32, window as u32]);
                    assert_eq!(batch.window_labels[at], sample.targets[e]);
                    let steps = row * batch.t + e * window..row * batch.t + (e + 1) * window;
                    assert_eq!(batch.symbols[steps.start], sample.symbols[e]);
                    assert!(
                        batch.symbols[steps.start + 1..steps.end]
                            .iter()
                            .all(|&s| s == NO_SYMBOL)
                    );
                    assert!(
                        batch.labels[steps]
                            .iter()
                            .all(|&label| label == sample.targets[e])
                    );
                }
            }
        }
    }

    #[test]
    fn training_goes_round_and_tests_do_not() {
        let data = DataSet::new(grammar(), spec(Splits::Disjoint), 2).unwrap();
        let batch = data.batch(Split::Train, 298, 4);
        assert_eq!(
            batch.symbols[2 * batch.t..],
            data.batch(Split::Train, 0, 2).symbols
        );
        assert!(std::panic::catch_unwind(|| data.batch(Split::Test, 48, 4)).is_err());
    }
}

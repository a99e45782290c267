//! Batches of samples as they travel to the device: symbols, gap lengths and targets, which are spread over time there.

use super::data::DataSet;
use super::sample::Sample;
use super::spec::{Split, Splits};
use super::streams::Mt19937;
use crate::philox;
use rayon::prelude::*;

/// A step whose input row is zero.
pub const NO_SYMBOL: u32 = u32::MAX;
/// A step or window without a target.
pub const IGNORE: u32 = u32::MAX;

/// B samples of at most T steps; E elements each. Row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Samples, B.
    pub b: usize,
    /// Steps of the longest sample, T.
    pub t: usize,
    /// Elements of a sample, E.
    pub elements: usize,
    /// The split that the samples are from.
    pub split: Split,
    /// Seed of the samples: its low 32 bits.
    pub seed: u32,
    /// Number of each sample in its split, `[B]`.
    pub indices: Vec<u32>,
    /// Symbol id of each element, `[B, E]`.
    pub symbols: Vec<u32>,
    /// `[B, E]` first step and number of steps of each element, its gap included.
    pub windows: Vec<[u32; 2]>,
    /// What is asked for in each window, `[B, E]`.
    pub window_labels: Vec<u32>,
    /// Symbol of each step, `[B, T]`, where gaps are filled with symbols; [`NO_SYMBOL`] is a zero input row. Empty
    /// where gaps are empty input.
    pub step_symbols: Vec<u32>,
    /// [`DataSet::noise`], `[B, T, V]`, where it is the reference's; else empty.
    pub reference_noise: Vec<f32>,
    /// Steps with a target, over all samples.
    pub tokens: usize,
}

impl Batch {
    /// Seed, split, idx and time steps of each sample: what its noise is a function of, `[B, 4]`.
    pub fn noise_keys(&self) -> Vec<u32> {
        let ends = self
            .windows
            .chunks(self.elements)
            .map(|sample| sample[self.elements - 1]);
        let samples = self.indices.iter().zip(ends);
        let key =
            |(&idx, [first, steps]): (&u32, [u32; 2])| [self.seed, self.split as u32, idx, first + steps];
        samples.flat_map(key).collect()
    }

    /// Bytes of a batch of so many samples of `t` steps and `e` elements, the reference's noise not counted.
    pub fn bytes(b: usize, t: usize, e: usize) -> u64 {
        let sample = (4 * t as u64).saturating_add(16 * e as u64);
        sample.saturating_mul(b as u64)
    }

    /// Class of each step, `[B, T]`; [`IGNORE`] where a sample has ended.
    pub fn step_labels(&self) -> Vec<u32> {
        let mut labels = vec![IGNORE; self.b * self.t];
        for (at, (&[first, steps], &label)) in self.windows.iter().zip(&self.window_labels).enumerate() {
            let first = at / self.elements * self.t + first as usize;
            labels[first..first + steps as usize].fill(label);
        }
        labels
    }

    /// Symbol of each step, `[B, T]`; [`NO_SYMBOL`] is a zero input row.
    pub fn spread_symbols(&self) -> Vec<u32> {
        if !self.step_symbols.is_empty() {
            return self.step_symbols.clone();
        }
        let mut symbols = vec![NO_SYMBOL; self.b * self.t];
        for (at, (&[first, _], &symbol)) in self.windows.iter().zip(&self.symbols).enumerate() {
            symbols[at / self.elements * self.t + first as usize] = symbol;
        }
        symbols
    }
}

impl DataSet {
    /// Samples `first_idx .. first_idx + b` of a split. Training samples go round: after the last comes the
    /// first.
    ///
    /// # Panics
    /// For a validation or test sample at or beyond the split's count.
    pub fn batch(&self, split: Split, first_idx: u64, b: usize) -> Batch {
        let elements = self.spec().length;
        let mut batch = Batch {
            b,
            t: 0,
            elements,
            split,
            seed: self.seed() as u32,
            indices: Vec::with_capacity(b),
            symbols: Vec::with_capacity(b * elements),
            windows: Vec::with_capacity(b * elements),
            window_labels: Vec::with_capacity(b * elements),
            step_symbols: Vec::new(),
            reference_noise: Vec::new(),
            tokens: 0,
        };
        let mut scratch = self.scratch();
        let mut samples = vec![Sample::default(); if self.spec().nongrammatical { b } else { 1 }];
        let last = samples.len() - 1;
        for row in 0..b {
            let mut idx = first_idx + row as u64;
            if split == Split::Train {
                idx %= self.spec().train;
            }
            let sample = &mut samples[row.min(last)];
            self.sample_into(split, idx, &mut scratch, sample);
            batch.indices.push(idx as u32);
            batch
                .symbols
                .extend(sample.symbols.iter().map(|&symbol| u32::from(symbol)));
            batch.window_labels.extend_from_slice(&sample.targets);
            batch.windows.extend(sample.windows());
            batch.t = batch.t.max(sample.steps());
            batch.tokens += sample.steps();
        }
        if self.spec().nongrammatical {
            batch.step_symbols = vec![NO_SYMBOL; b * batch.t];
            for (row, sample) in batch.step_symbols.chunks_mut(batch.t).zip(&samples) {
                for (step, symbol) in row.iter_mut().zip(sample.step_symbols()) {
                    *step = symbol.map_or(NO_SYMBOL, u32::from);
                }
            }
        }
        if self.spec().noise > 0.0 && self.spec().splits == Splits::Reference {
            batch.reference_noise = self.noise(&batch);
        }
        batch
    }

    /// The noise of a batch before it is scaled, `[B, T, V]`; 0 where a sample has ended. By the reference's stream with the
    /// reference's splits.
    pub fn noise(&self, batch: &Batch) -> Vec<f32> {
        let vocab = self.grammar().vocab();
        let mut noise = vec![0.0; batch.b * batch.t * vocab];
        let samples = noise.par_chunks_mut(batch.t * vocab);
        let keys = batch.noise_keys();
        samples.zip(keys.par_chunks(4)).for_each(|(values, key)| {
            let steps = values.chunks_mut(vocab).take(key[3] as usize);
            match self.spec().splits {
                Splits::Disjoint => {
                    for (step, row) in (0..).zip(steps) {
                        philox::noise([key[0], key[1], key[2], step], row);
                    }
                }
                Splits::Reference => {
                    let number = self.reference_number(batch.split, u64::from(key[2]));
                    let mut stream = Mt19937::from_number(self.seed().wrapping_mul(number) as u32);
                    steps.for_each(|row| row.fill_with(|| stream.torch_f32()));
                }
            }
        });
        noise
    }

    /// Input rows of a batch, `[B, T, V]`: what the device makes of it. For looking at data, and for proofs.
    pub fn dense(&self, batch: &Batch) -> Vec<f32> {
        let vocab = self.grammar().vocab();
        let level = self.spec().noise as f32;
        let mut rows = vec![0.0; batch.b * batch.t * vocab];
        for (row, symbol) in rows.chunks_mut(vocab).zip(batch.spread_symbols()) {
            if let Some(channel) = row.get_mut(symbol as usize) {
                *channel = 1.0;
            }
        }
        if level > 0.0 {
            for (value, u) in rows.iter_mut().zip(self.noise(batch)) {
                *value += u * level;
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::data::tests::{grammar, spec};
    use crate::tasks::{DataSpec, Gap, Targets};

    #[test]
    fn batch_places_symbols_gaps_and_windows() {
        let data = DataSet::new(grammar(), spec(Splits::Disjoint), 2).unwrap();
        for (split, window) in [(Split::Train, 2), (Split::Test, 4)] {
            let batch = data.batch(split, 3, 5);
            assert_eq!(
                (batch.t, batch.elements, batch.tokens),
                (20 * window, 20, 5 * 20 * window)
            );
            let (symbols, labels) = (batch.spread_symbols(), batch.step_labels());
            for row in 0..5 {
                let sample = data.sample(split, 3 + row as u64);
                for e in 0..20 {
                    let at = row * 20 + e;
                    assert_eq!(batch.windows[at], [(e * window) as u32, window as u32]);
                    assert_eq!(batch.window_labels[at], sample.targets[e]);
                    let steps = row * batch.t + e * window..row * batch.t + (e + 1) * window;
                    assert_eq!(symbols[steps.start], u32::from(sample.symbols[e]));
                    assert!(
                        symbols[steps.start + 1..steps.end]
                            .iter()
                            .all(|&s| s == NO_SYMBOL)
                    );
                    assert!(labels[steps].iter().all(|&label| label == sample.targets[e]));
                }
            }
        }
    }

    #[test]
    fn training_goes_round_and_tests_do_not() {
        let data = DataSet::new(grammar(), spec(Splits::Disjoint), 2).unwrap();
        let batch = data.batch(Split::Train, 298, 4);
        assert_eq!(batch.symbols[2 * 20..], data.batch(Split::Train, 0, 2).symbols);
        assert_eq!(batch.indices, [298, 299, 0, 1]);
        assert!(std::panic::catch_unwind(|| data.batch(Split::Test, 48, 4)).is_err());
    }

    fn task_2(splits: Splits) -> DataSet {
        let spec = DataSpec {
            gap: Gap::Uniform([0.1, 1.0]),
            noise: 0.2,
            ..spec(splits)
        };
        DataSet::new(grammar(), spec, 2).unwrap()
    }

    #[test]
    fn a_sample_is_the_same_in_any_batch() {
        for splits in [Splits::Disjoint, Splits::Reference] {
            let data = task_2(splits);
            let vocab = data.grammar().vocab();
            let whole = data.batch(Split::Train, 0, 8);
            let rows = data.dense(&whole);
            for first in 0..8 {
                let alone = data.batch(Split::Train, first, 1);
                let row = &rows[first as usize * whole.t * vocab..][..alone.t * vocab];
                assert_eq!(data.dense(&alone), row, "{splits:?} {first}");
                assert_eq!(alone.tokens, alone.t);
            }
            assert!(whole.t <= data.max_steps(Split::Train) && whole.tokens < 8 * whole.t);
        }
    }

    #[test]
    fn noise_is_uniform_below_its_level() {
        let data = task_2(Splits::Disjoint);
        let batch = data.batch(Split::Train, 0, 50);
        let (mut sum, mut count) = (0.0, 0.0);
        for (row, &symbol) in data.dense(&batch).chunks(9).zip(&batch.spread_symbols()) {
            for (channel, &value) in row.iter().enumerate() {
                let noise = f64::from(value) - f64::from(u8::from(channel == symbol as usize));
                assert!((0.0..0.2).contains(&noise));
                sum += noise;
                count += f64::from(u8::from(row != [0.0; 9]));
            }
        }
        // Standard deviation of the mean of 50,000 values: 0.00026.
        assert!((sum / count - 0.1).abs() < 0.001, "{}", sum / count);
    }

    #[test]
    fn wrong_symbols_cannot_follow() {
        let spec = DataSpec {
            nongrammatical: true,
            gap_start: 5,
            gap_prob: 0.5,
            gap: Gap::Uniform([0.1, 0.3]),
            ..spec(Splits::Disjoint)
        };
        let data = DataSet::new(grammar(), spec, 2).unwrap();
        let mut gaps = 0;
        for idx in 0..100 {
            let sample = data.sample(Split::Train, idx);
            let mut filled = sample.gap_symbols.iter();
            for (e, (&state, &gap)) in sample.states.iter().zip(&sample.gaps).enumerate() {
                assert!(gap == 0 || e >= 5);
                for symbol in filled.by_ref().take(usize::from(gap)) {
                    assert!(data.grammar().impossible(state).contains(symbol));
                }
                gaps += u32::from(gap > 0);
            }
            assert_eq!(filled.next(), None);
        }
        // 1,500 elements, about half of them with a gap.
        assert!((650..850).contains(&gaps), "{gaps}");
    }

    #[test]
    fn next_symbols_are_those_that_follow() {
        let spec = DataSpec {
            targets: Targets::Next,
            ..spec(Splits::Disjoint)
        };
        let data = DataSet::new(grammar(), spec.clone(), 2).unwrap();
        let classes = DataSet::new(grammar(), self::spec(Splits::Disjoint), 2).unwrap();
        for idx in 0..20 {
            let sample = data.sample(Split::Train, idx);
            assert_eq!(sample.symbols, classes.sample(Split::Train, idx).symbols);
            let following = sample.symbols[1..].iter().map(|&s| u32::from(s));
            assert!(following.eq(sample.targets[..19].iter().copied()));
            let last = data.grammar().impossible(sample.states[19]);
            let end = sample.states[19] == data.grammar().terminator();
            assert!(end || !last.contains(&(sample.targets[19] as u8)));
        }
    }
}

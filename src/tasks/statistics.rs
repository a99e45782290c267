//! What can be reached on a data set, and whether its test samples occur in training: one pass over the
//! samples.

use super::data::DataSet;
use super::ngram::NgramCounts;
use super::observer::{Observer, Rules};
use super::sample::Sample;
use super::spec::Split;
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Samples that one task of the thread pool makes before it reports.
const CHUNK: u64 = 256;

/// Accuracies as fractions of all elements of the test samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    /// 1 / number of classes.
    pub chance: f64,
    /// Always the most frequent class of the training samples.
    pub constant: f64,
    /// The most frequent class after the last symbol, by the counts of the training samples.
    pub n1: f64,
    /// The same after the last two symbols: the bigram predictor.
    pub n2: f64,
    /// The ideal observer's.
    pub ceiling: f64,
    /// Number of test samples whose symbols also occur as a training sample.
    pub overlap: usize,
    /// The indices of those test samples, ascending.
    pub overlapping: Vec<u64>,
}

/// A fingerprint of a sequence's symbols.
type Fingerprint = [u8; 32];

impl DataSet {
    /// Bytes that [`Self::statistics`] holds: the test samples, and a fingerprint of each.
    pub fn statistics_bytes(&self) -> u64 {
        let sample =
            2 * self.spec().length + 2 * size_of::<(Fingerprint, Vec<u64>)>() + size_of::<Vec<u16>>() + 1;
        self.count(Split::Test).saturating_mul(sample as u64)
    }

    /// Makes every training sample once and compares. `progress(done, total)` is called in between, from any
    /// thread.
    ///
    /// With no test samples every accuracy but chance is 0.
    pub fn statistics(&self, progress: impl Fn(u64, u64) + Sync) -> Statistics {
        let tests = self.test_samples();
        let known = TestPrints::new(&tests);
        let model = self.count_training(&known, &progress).finish();
        let [constant, n1, n2] = sum_over(&tests, |sample| model.correct(sample.tokens()));
        let elements = (tests.len() * self.spec().length).max(1) as f64;
        let overlapping = known.found();
        Statistics {
            chance: 1.0 / self.classes() as f64,
            constant: constant as f64 / elements,
            n1: n1 as f64 / elements,
            n2: n2 as f64 / elements,
            ceiling: self.ceiling_on(&tests),
            overlap: overlapping.len(),
            overlapping,
        }
    }

    /// Accuracy of the ideal observer on the test samples.
    pub fn ceiling(&self) -> f64 {
        self.ceiling_on(&self.test_samples())
    }

    fn ceiling_on(&self, tests: &[Sample]) -> f64 {
        let rules = Rules::new(self, Split::Test);
        let [correct] = sum_over(tests, |sample| {
            let mut observer = Observer::new(self.grammar(), self.reach(), &rules);
            [observer.correct(sample) as u64]
        });
        correct as f64 / (tests.len() * self.spec().length).max(1) as f64
    }

    fn test_samples(&self) -> Vec<Sample> {
        let count = self.count(Split::Test);
        (0..count)
            .into_par_iter()
            .map(|idx| self.sample(Split::Test, idx))
            .collect()
    }

    fn count_training(&self, known: &TestPrints, progress: &(impl Fn(u64, u64) + Sync)) -> NgramCounts {
        let total = self.count(Split::Train);
        let done = AtomicU64::new(0);
        let none = NgramCounts::new(self.grammar(), self.spec().targets, 2);
        let counted = (0..total.div_ceil(CHUNK)).into_par_iter().fold(
            || (none.empty(), self.scratch(), Sample::default()),
            |(mut counts, mut scratch, mut sample), chunk| {
                let range = chunk * CHUNK..((chunk + 1) * CHUNK).min(total);
                let made = range.end - range.start;
                for idx in range {
                    self.sample_into(Split::Train, idx, &mut scratch, &mut sample);
                    counts.add(sample.tokens());
                    known.mark(fingerprint(&sample));
                }
                progress(done.fetch_add(made, Ordering::Relaxed) + made, total);
                (counts, scratch, sample)
            },
        );
        counted
            .map(|(counts, ..)| counts)
            .reduce(|| none.empty(), NgramCounts::merge)
    }
}

fn fingerprint(sample: &Sample) -> Fingerprint {
    *blake3::hash(&sample.symbols).as_bytes()
}

fn sum_over<const N: usize>(samples: &[Sample], count: impl Fn(&Sample) -> [u64; N] + Sync) -> [u64; N] {
    let add = |a: [u64; N], b: [u64; N]| std::array::from_fn(|i| a[i] + b[i]);
    samples
        .par_iter()
        .map(|sample| count(sample))
        .reduce(|| [0; N], add)
}

/// The test sequences, and which of them have been met.
struct TestPrints {
    by_print: HashMap<Fingerprint, Vec<u64>>,
    met: Vec<AtomicBool>,
}

impl TestPrints {
    fn new(tests: &[Sample]) -> Self {
        let mut by_print: HashMap<Fingerprint, Vec<u64>> = HashMap::new();
        for (idx, sample) in tests.iter().enumerate() {
            by_print.entry(fingerprint(sample)).or_default().push(idx as u64);
        }
        Self {
            by_print,
            met: tests.iter().map(|_| AtomicBool::new(false)).collect(),
        }
    }

    fn mark(&self, print: Fingerprint) {
        for &idx in self.by_print.get(&print).into_iter().flatten() {
            self.met[idx as usize].store(true, Ordering::Relaxed);
        }
    }

    fn found(&self) -> Vec<u64> {
        (0..self.met.len() as u64)
            .filter(|&idx| self.met[idx as usize].load(Ordering::Relaxed))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::{DataSpec, Gap, Grammar, GrammarSpec, Splits, Targets};
    use std::sync::Arc;

    fn data(letters: u32, ambiguities: u32, depth: u32, seed: u64, train: u64, test: u64) -> DataSet {
        let spec = GrammarSpec {
            vocab: letters + 1,
            ambiguities,
            depth,
            seed,
        };
        let spec_of_data = DataSpec::plain(200, Splits::Disjoint, [train, 0, test], Gap::Fixed(1));
        DataSet::new(Arc::new(Grammar::generate(&spec).unwrap()), spec_of_data, seed).unwrap()
    }

    /// Two measurements of the same percentage, each on so many elements, may differ by three standard
    /// deviations of their difference; the table is rounded to 0.1.
    fn assert_same_percentage(found: f64, table: f64, elements: f64, what: &str) {
        let p = table / 100.0;
        let deviation = 100.0 * (2.0 * p * (1.0 - p) / elements).sqrt();
        let found = 100.0 * found;
        assert!(
            (found - table).abs() <= 3.0 * deviation + 0.05,
            "{what}: {found} against {table}"
        );
    }

    #[test]
    fn baselines_of_the_small_settings() {
        let table = [
            (8, 6, 4, 1, [17.2, 54.1, 85.8, 96.3, 99.4], 100.0),
            (10, 10, 5, 2, [7.1, 39.6, 75.0, 92.5, 98.0], 100.0),
            (12, 12, 8, 1, [2.8, 23.4, 57.6, 82.1, 93.2], 100.0),
            (12, 12, 8, 2, [3.0, 23.8, 58.0, 83.2, 94.3], 100.0),
            (16, 16, 12, 1, [1.5, 17.6, 44.7, 73.0, 89.2], 100.0),
            (20, 20, 20, 1, [0.9, 10.4, 30.8, 57.0, 77.7], 99.48),
        ];
        for (letters, ambiguities, depth, seed, by_order, ceiling) in table {
            let data = data(letters, ambiguities, depth, seed, 5000, 500);
            let name = format!("{letters} letters, seed {seed}");
            let statistics = data.statistics(|_, _| {});
            assert_eq!(statistics.overlap, 0, "{name}");
            assert_same_percentage(statistics.ceiling, ceiling, 1e5, &name);

            let mut counts = NgramCounts::new(data.grammar(), Targets::Class, 4);
            for idx in 0..5000 {
                counts.add(data.sample(Split::Train, idx).tokens());
            }
            let model = counts.finish();
            let mut correct = [0; 5];
            for idx in 0..500 {
                let hits: [u64; 5] = model.correct(data.sample(Split::Test, idx).tokens());
                for (sum, hits) in correct.iter_mut().zip(hits) {
                    *sum += hits;
                }
            }
            let accuracies = correct.map(|hits| hits as f64 / 1e5);
            assert_eq!(
                accuracies[..3],
                [statistics.constant, statistics.n1, statistics.n2],
                "{name}"
            );
            for (n, (found, expected)) in accuracies.into_iter().zip(by_order).enumerate() {
                assert_same_percentage(found, expected, 1e5, &format!("{name}, n = {n}"));
            }
        }
    }

    #[test]
    fn ceilings_of_the_specification() {
        // Measured there on 2,000 samples.
        for (letters, seed, ceiling) in [
            (20, 2, 100.0),
            (24, 3, 99.46),
            (40, 1, 99.47),
            (40, 3, 99.38),
            (40, 4, 100.0),
        ] {
            let data = data(letters, letters, letters, seed, 1, 500);
            let found = data.statistics(|_, _| {}).ceiling;
            assert_same_percentage(found, ceiling, 1e5, &format!("A = {letters}, seed {seed}"));
        }
    }

    #[test]
    fn ceilings_with_wrong_symbols_are_the_specifications() {
        // Measured there on 1,000 samples.
        for (letters, seed, ceiling) in [(20, 1, 99.43), (24, 3, 99.43), (40, 2, 99.98), (40, 3, 99.35)] {
            let plain = data(letters, letters, letters, seed, 1, 500);
            let spec = DataSpec {
                nongrammatical: true,
                gap_start: 50,
                gap_prob: 0.1,
                ..plain.spec().clone()
            };
            let data = DataSet::new(Arc::clone(plain.grammar()), spec, seed).unwrap();
            let found = data.ceiling();
            assert_same_percentage(found, ceiling, 1e5, &format!("A = {letters}, seed {seed}"));
        }
    }

    #[test]
    fn ceiling_of_the_reference_test_set_is_exact() {
        let spec = |seed| GrammarSpec {
            vocab: 41,
            ambiguities: 40,
            depth: 40,
            seed,
        };
        for (seed, percent) in [(1, 99.496), (3, 99.435)] {
            let data_spec = DataSpec::plain(200, Splits::Reference, [1000, 0, 1000], Gap::Fixed(1));
            let grammar = Arc::new(Grammar::generate(&spec(seed)).unwrap());
            let statistics = DataSet::new(grammar, data_spec, seed)
                .unwrap()
                .statistics(|_, _| {});
            // The same samples as the specification's, so only its rounding is left.
            assert!(
                (100.0 * statistics.ceiling - percent).abs() < 0.000_51,
                "{}",
                statistics.ceiling
            );
            assert_eq!(statistics.overlap, 1000);
        }
    }

    #[test]
    fn repeated_sequences_of_a_small_grammar_are_counted() {
        let spec = GrammarSpec {
            vocab: 5,
            ambiguities: 3,
            depth: 3,
            seed: 1,
        };
        let grammar = Arc::new(Grammar::generate(&spec).unwrap());
        let data_spec = DataSpec::plain(6, Splits::Disjoint, [50, 0, 40], Gap::Fixed(0));
        let data = DataSet::new(grammar, data_spec, 1).unwrap();
        let training: Vec<_> = (0..50)
            .map(|idx| data.sample(Split::Train, idx).symbols)
            .collect();
        let repeated = (0..40).filter(|&idx| training.contains(&data.sample(Split::Test, idx).symbols));
        let statistics = data.statistics(|_, _| {});
        assert_eq!(statistics.overlapping, repeated.collect::<Vec<u64>>());
        assert!((1..40).contains(&statistics.overlap), "{}", statistics.overlap);
    }

    #[test]
    fn progress_reaches_the_end() {
        let furthest = AtomicU64::new(0);
        let data = data(8, 6, 4, 1, 1000, 10);
        data.statistics(|done, total| {
            assert_eq!(total, 1000);
            furthest.fetch_max(done, Ordering::Relaxed);
        });
        assert_eq!(furthest.into_inner(), 1000);
    }
}

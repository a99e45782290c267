//! What can be reached on a data set, and whether its test samples occur in training: one pass over the
//! samples.

use super::data::DataSet;
use super::ngram::NgramCounts;
use super::observer::{Observer, Rules};
use super::sample::Sample;
use super::spec::Split;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Samples that one task of the thread pool makes before it reports.
const CHUNK: u64 = 256;
/// Samples between two looks at which pool to count in.
const ROUND: u64 = 64 * CHUNK;
/// Bytes that a test sample takes while training samples are compared with it.
const TEST_BYTES: u64 = 40;

/// Accuracies as fractions of all elements of the test samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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

/// How far counting is, and how it goes on: seen from another thread.
#[derive(Debug, Default)]
pub struct Counted {
    /// Training samples counted.
    pub done: AtomicU64,
    /// Set once nothing else wants the processor: the rest is counted on all threads.
    pub hurry: AtomicBool,
    /// Set to end it: the statistics are then those of what was counted, and of no use.
    pub stop: AtomicBool,
}

/// The first bytes of a fingerprint of a sequence's symbols: two among 2^32 agree by chance with a probability of 2^-65.
type Fingerprint = u128;

impl DataSet {
    /// Makes the first `used` training samples once (all of them if it is more) and compares. Runs in the thread pool of
    /// its caller until [`Counted::hurry`].
    ///
    /// With no test samples every accuracy but chance is 0.
    pub fn statistics(&self, used: u64, counted: &Counted) -> Statistics {
        let known = TestPrints::new(self);
        let model = self
            .count_training(used.min(self.count(Split::Train)), &known, counted)
            .finish();
        let [constant, n1, n2] = self.sum_over_tests(|sample| model.correct(sample.tokens()));
        let elements = self.test_elements();
        let overlapping = known.found();
        Statistics {
            chance: 1.0 / self.classes() as f64,
            constant: constant as f64 / elements,
            n1: n1 as f64 / elements,
            n2: n2 as f64 / elements,
            ceiling: self.ceiling(),
            overlap: overlapping.len(),
            overlapping,
        }
    }

    /// Accuracy of the ideal observer on the test samples.
    pub fn ceiling(&self) -> f64 {
        let rules = Rules::new(self, Split::Test);
        let [correct] = self.sum_over_tests(|sample| {
            let mut observer = Observer::new(self.grammar(), self.reach(), &rules);
            [observer.correct(sample) as u64]
        });
        correct as f64 / self.test_elements()
    }

    fn test_elements(&self) -> f64 {
        (self.count(Split::Test) * self.spec().length as u64).max(1) as f64
    }

    /// Bytes that [`DataSet::statistics`] holds for the test samples.
    pub fn statistics_bytes(&self) -> u64 {
        self.count(Split::Test).saturating_mul(TEST_BYTES)
    }

    fn count_training(&self, total: u64, known: &TestPrints, counted: &Counted) -> NgramCounts {
        let none = NgramCounts::new(self.grammar(), self.spec().targets, 2);
        let count = |range: Range<u64>| {
            let chunks = (0..(range.end - range.start).div_ceil(CHUNK)).into_par_iter();
            let counts = chunks.fold(
                || (none.empty(), self.scratch(), Sample::default()),
                |(mut counts, mut scratch, mut sample), chunk| {
                    let first = range.start + chunk * CHUNK;
                    let chunk = first..(first + CHUNK).min(range.end);
                    counted.done.fetch_add(chunk.end - chunk.start, Ordering::Relaxed);
                    for idx in chunk {
                        self.sample_into(Split::Train, idx, &mut scratch, &mut sample);
                        counts.add(sample.tokens());
                        known.mark(fingerprint(&sample));
                    }
                    (counts, scratch, sample)
                },
            );
            counts
                .map(|(counts, ..)| counts)
                .reduce(|| none.empty(), NgramCounts::merge)
        };
        let mut all = none.empty();
        let mut at = 0;
        while at < total && !counted.stop.load(Ordering::Relaxed) {
            let range = at..(at + ROUND).min(total);
            at = range.end;
            let counts = if counted.hurry.load(Ordering::Relaxed) {
                in_global_pool(|| count(range))
            } else {
                count(range)
            };
            all = NgramCounts::merge(all, counts);
        }
        all
    }

    fn sum_over_tests<const N: usize>(&self, count: impl Fn(&Sample) -> [u64; N] + Sync) -> [u64; N] {
        let add = |a: [u64; N], b: [u64; N]| std::array::from_fn(|i| a[i] + b[i]);
        let tests = (0..self.count(Split::Test)).into_par_iter();
        let sums = tests.fold(
            || ([0; N], self.scratch(), Sample::default()),
            |(sums, mut scratch, mut sample), idx| {
                self.sample_into(Split::Test, idx, &mut scratch, &mut sample);
                (add(sums, count(&sample)), scratch, sample)
            },
        );
        sums.map(|(sums, ..)| sums).reduce(|| [0; N], add)
    }
}

/// Runs on the threads of the process, whatever pool the caller is in.
fn in_global_pool<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let done = scope.spawn(work).join();
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn fingerprint(sample: &Sample) -> Fingerprint {
    let hash = blake3::hash(&sample.symbols);
    let (first, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
    u128::from_le_bytes(*first)
}

/// The test sequences, and which of them have been met.
struct TestPrints {
    /// Fingerprints with the samples' numbers, sorted.
    prints: Vec<(Fingerprint, u64)>,
    /// In the order of `prints`.
    met: Vec<AtomicBool>,
}

impl TestPrints {
    fn new(data: &DataSet) -> Self {
        let tests = (0..data.count(Split::Test)).into_par_iter();
        let prints = tests.map_init(
            || (data.scratch(), Sample::default()),
            |(scratch, sample), idx| {
                data.sample_into(Split::Test, idx, scratch, sample);
                (fingerprint(sample), idx)
            },
        );
        let mut prints: Vec<_> = prints.collect();
        prints.par_sort_unstable();
        let met = prints.iter().map(|_| AtomicBool::new(false)).collect();
        Self { prints, met }
    }

    fn mark(&self, print: Fingerprint) {
        let first = self.prints.partition_point(|(other, _)| *other < print);
        let equal = self.prints[first..].iter().zip(&self.met[first..]);
        for ((_, _), met) in equal.take_while(|((other, _), _)| *other == print) {
            met.store(true, Ordering::Relaxed);
        }
    }

    fn found(&self) -> Vec<u64> {
        let all = self.prints.iter().zip(&self.met);
        let met = all.filter(|(_, met)| met.load(Ordering::Relaxed));
        let mut found: Vec<u64> = met.map(|((_, idx), _)| *idx).collect();
        found.sort_unstable();
        found
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
            let statistics = data.statistics(u64::MAX, &Counted::default());
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
            let found = data.statistics(u64::MAX, &Counted::default()).ceiling;
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
                .statistics(u64::MAX, &Counted::default());
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
        let statistics = data.statistics(u64::MAX, &Counted::default());
        assert_eq!(statistics.overlapping, repeated.collect::<Vec<u64>>());
        assert!((1..40).contains(&statistics.overlap), "{}", statistics.overlap);
    }

    #[test]
    fn only_what_was_used_is_counted_and_hurry_changes_nothing() {
        let data = data(8, 6, 4, 1, 3000, 10);
        let slow = Counted::default();
        let statistics = data.statistics(2, &slow);
        assert_eq!(slow.done.into_inner(), 2);
        let fast = Counted {
            hurry: true.into(),
            ..Counted::default()
        };
        assert_eq!(data.statistics(2, &fast), statistics);
        assert_ne!(data.statistics(u64::MAX, &fast), statistics);
        assert_eq!(fast.done.into_inner(), 3002);
    }
}

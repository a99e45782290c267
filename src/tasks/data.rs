//! A data set: which samples there are, and each of them on request.
//!
//! Every sample comes from a random stream of its own, so any one can be made alone, in any order, by any
//! thread.

use super::gap::Gap;
use super::grammar::Grammar;
use super::reach::Reach;
use super::sequence::too_long;
use super::spec::{DataSpec, Split, Splits, Targets, refuse};
use super::stored::Stored;
use super::streams::Pcg64;
use crate::error::UserError;
use std::sync::Arc;

/// The least share of strings that must end within the length. At 0.003, 10,000 failures in a row have a
/// probability of 9e-14, so drawing a sample cannot fail in practice.
const MIN_ACCEPTED: f64 = 0.003;
/// Last number of the list that seeds a sample's strings. Not 0: trailing zeros would give the grammar's own
/// stream.
const PURPOSE_STRINGS: u32 = 1;
/// The same of its gaps.
pub(super) const PURPOSE_GAPS: u32 = 2;

/// Samples of one grammar.
#[derive(Debug, Clone)]
pub struct DataSet {
    grammar: Arc<Grammar>,
    spec: DataSpec,
    seed: u64,
    reach: Arc<Reach>,
    stored: Option<Arc<Stored>>,
}

impl DataSet {
    /// A data set; `seed` is that of the samples, not the grammar's.
    ///
    /// # Errors
    /// [`UserError::Value`] if a length, a count or the seed is outside its limits, or if fewer than 0.3 % of
    /// the grammar's strings end within the length.
    pub fn new(grammar: Arc<Grammar>, spec: DataSpec, seed: u64) -> Result<Self, UserError> {
        spec.validate()?;
        let most = DataSpec::MAX_SAMPLES;
        if spec.splits == Splits::Disjoint && seed > most {
            let allowed = format!("0 to {most} with splits = \"disjoint\"");
            return Err(refuse("seed", seed.to_string(), allowed));
        }
        let reach = Arc::new(Reach::new(&grammar, spec.length));
        if reach.accepted(&grammar) < MIN_ACCEPTED {
            return Err(too_long(spec.length));
        }
        Ok(Self {
            grammar,
            spec,
            seed,
            reach,
            stored: None,
        })
    }

    /// The grammar.
    pub fn grammar(&self) -> &Arc<Grammar> {
        &self.grammar
    }

    /// Sizes and form.
    pub fn spec(&self) -> &DataSpec {
        &self.spec
    }

    /// The probabilities of reaching `#` in time.
    pub fn reach(&self) -> &Arc<Reach> {
        &self.reach
    }

    /// Number of samples of a split.
    pub fn count(&self, split: Split) -> u64 {
        match split {
            Split::Train => self.spec.train,
            Split::Validation => self.spec.validation,
            Split::Test => self.spec.test,
        }
    }

    /// The law of the gaps of a split's samples.
    pub fn gap(&self, split: Split) -> Gap {
        match split {
            Split::Train | Split::Validation => self.spec.gap,
            Split::Test => self.spec.test_gap.first(),
        }
    }

    /// The same with samples from a file instead of random streams.
    pub(super) fn with_stored(mut self, stored: Stored) -> Self {
        self.stored = Some(Arc::new(stored));
        self
    }

    /// The samples' file, if they are from one.
    pub(super) fn stored(&self) -> Option<&Stored> {
        self.stored.as_deref()
    }

    /// The fingerprint of the samples' file, if they are from one.
    pub fn checksum(&self) -> Option<&str> {
        self.stored().map(|stored| stored.header().checksum.as_str())
    }

    /// Seed of the samples.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Steps of the longest sample that a split can have.
    pub fn max_steps(&self, split: Split) -> usize {
        let DataSpec {
            length, gap_start, ..
        } = self.spec;
        length + (length - gap_start) * self.gap(split).max_steps() as usize
    }

    /// Classes that a model has to tell apart: the states, or the symbols.
    pub fn classes(&self) -> usize {
        match self.spec.targets {
            Targets::Class => self.grammar.classes(),
            Targets::Next => self.grammar.vocab(),
        }
    }

    /// The true probabilities of the symbol after a state, `[V]`: those of its transitions, and after `#` those of the
    /// initial states (tasks.md 4). The reference has 1 on `#` there.
    pub fn next_probabilities(&self, state: u16) -> Vec<f64> {
        let grammar = &self.grammar;
        let mut row = vec![0.0; grammar.vocab()];
        let symbol = |state: u16| usize::from(grammar.symbols()[usize::from(state)]);
        if state != grammar.terminator() {
            for (&to, &p) in grammar.successors(state).iter().zip(grammar.probabilities(state)) {
                row[symbol(to)] += p;
            }
        } else if self.spec.splits == Splits::Reference {
            row[0] = 1.0;
        } else {
            let initial = grammar.initial();
            for &to in initial {
                row[symbol(to)] += 1.0 / initial.len() as f64;
            }
        }
        row
    }

    /// The same samples, tested at another gap.
    #[must_use]
    pub fn with_test_gap(&self, gap: Gap) -> Self {
        let mut data = self.clone();
        data.spec.test_gap = gap.into();
        data
    }

    /// The stream of a sample's strings.
    pub(super) fn strings_stream(&self, split: Split, idx: u64) -> Pcg64 {
        match self.spec.splits {
            Splits::Disjoint => self.own_stream(split, idx, PURPOSE_STRINGS),
            Splits::Reference => {
                Pcg64::new(u128::from(self.seed) * u128::from(self.reference_number(split, idx)))
            }
        }
    }

    /// A sample's own stream for a purpose.
    pub(super) fn own_stream(&self, split: Split, idx: u64, purpose: u32) -> Pcg64 {
        let number = |n: u64| u32::try_from(n).expect("seed and counts are checked on creation");
        Pcg64::from_list(&[number(self.seed), split as u32, number(idx), purpose])
    }

    /// A sample's number in the reference's one row of samples.
    pub(super) fn reference_number(&self, split: Split, idx: u64) -> u64 {
        match split {
            Split::Validation => self.spec.train + idx,
            Split::Train | Split::Test => idx,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::tasks::GrammarSpec;

    /// A small grammar for the tests of this folder.
    pub(in crate::tasks) fn grammar() -> Arc<Grammar> {
        let spec = GrammarSpec {
            vocab: 9,
            ambiguities: 6,
            depth: 4,
            seed: 2,
        };
        Arc::new(Grammar::generate(&spec).unwrap())
    }

    /// Small splits of its samples.
    pub(in crate::tasks) fn spec(splits: Splits) -> DataSpec {
        DataSpec {
            test_gap: Gap::Fixed(3).into(),
            ..DataSpec::plain(20, splits, [300, 40, 50], Gap::Fixed(1))
        }
    }

    #[test]
    fn splits_never_share_a_stream() {
        let data = DataSet::new(grammar(), spec(Splits::Disjoint), 2).unwrap();
        let mut streams = std::collections::HashSet::new();
        for split in [Split::Train, Split::Validation, Split::Test] {
            for idx in 0..data.count(split) {
                assert!(
                    streams.insert(data.strings_stream(split, idx).state()),
                    "{split:?} {idx}"
                );
            }
        }
        assert_eq!(
            data.strings_stream(Split::Train, 0),
            Pcg64::from_list(&[2, 0, 0, 1])
        );
        assert_eq!(
            data.strings_stream(Split::Test, 7),
            Pcg64::from_list(&[2, 2, 7, 1])
        );
    }

    #[test]
    fn reference_tests_on_its_training_samples() {
        let data = DataSet::new(grammar(), spec(Splits::Reference), 2).unwrap();
        for idx in [0, 1, 49] {
            let [train, test] = [Split::Train, Split::Test].map(|split| data.sample(split, idx));
            assert_eq!((train.states, train.targets), (test.states, test.targets));
            assert_eq!(
                data.strings_stream(Split::Train, idx),
                Pcg64::new(2 * u128::from(idx))
            );
        }
        assert_eq!(data.strings_stream(Split::Validation, 5), Pcg64::new(2 * 305));
    }

    #[test]
    fn limits_are_refused_by_name() {
        let good = spec(Splits::Disjoint);
        let too_many = u64::from(u32::MAX) + 1;
        for (bad, seed, field) in [
            (
                DataSpec {
                    length: 1,
                    ..good.clone()
                },
                1,
                "data.length",
            ),
            (
                DataSpec {
                    length: 10_001,
                    ..good.clone()
                },
                1,
                "data.length",
            ),
            (
                DataSpec {
                    train: 0,
                    ..good.clone()
                },
                1,
                "data.train",
            ),
            (
                DataSpec {
                    train: too_many,
                    ..good.clone()
                },
                1,
                "data.train",
            ),
            (
                DataSpec {
                    test: too_many,
                    ..good.clone()
                },
                1,
                "data.test",
            ),
            (
                DataSpec {
                    validation: too_many,
                    ..good.clone()
                },
                1,
                "data.validation",
            ),
            (good, too_many, "seed"),
        ] {
            match DataSet::new(grammar(), bad, seed) {
                Err(UserError::Value { field: found, .. }) => assert_eq!(found, field),
                other => panic!("{field}: {other:?}"),
            }
        }
        let reference = spec(Splits::Reference);
        assert!(DataSet::new(grammar(), reference, too_many).is_ok());
    }

    #[test]
    fn strings_longer_than_the_sequence_are_refused_on_creation() {
        let spec = GrammarSpec {
            vocab: 41,
            ambiguities: 40,
            depth: 40,
            seed: 1,
        };
        let grammar = Arc::new(Grammar::generate(&spec).unwrap());
        let short = DataSpec {
            length: 2,
            ..self::spec(Splits::Disjoint)
        };
        let error = DataSet::new(grammar, short, 1).unwrap_err();
        assert!(matches!(error, UserError::Value { field, .. } if field == "data.length"));
    }
}

//! What a data set consists of: its splits, and `[data]`.

use super::gap::{Gap, TestGaps};
use crate::error::UserError;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// What samples are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Split {
    /// For the updates.
    Train,
    /// For choosing between models.
    Validation,
    /// For the number that is reported.
    Test,
}

/// How the splits relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Splits {
    /// Each split has streams of its own.
    Disjoint,
    /// The reference's way: one stream of samples, and the test samples are the first training samples.
    /// Validation samples, which the reference does not have, follow the training samples.
    Reference,
}

/// What a model has to name at each step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Targets {
    /// The state of the automaton.
    Class,
    /// The next symbol.
    Next,
}

/// `[data]`: sizes and form of a data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSpec {
    /// Elements of a sequence, which is also the most entries of a string: [`DataSpec::LENGTHS`].
    pub length: usize,
    /// How the splits relate.
    pub splits: Splits,
    /// Number of training samples.
    pub train: u64,
    /// Number of validation samples.
    pub validation: u64,
    /// Number of test samples.
    pub test: u64,
    /// What is asked for at each step.
    pub targets: Targets,
    /// Time after each symbol, in training and validation samples.
    pub gap: Gap,
    /// The same in test samples; a model is tested at each of these gaps.
    pub test_gap: TestGaps,
    /// Uniform noise in [0, noise) on every channel of every step: 0 to 1.
    pub noise: f64,
    /// Whether gaps are filled with symbols that cannot follow, instead of nothing.
    pub nongrammatical: bool,
    /// Elements at the start of a sequence that no gap follows: 0 to `length`.
    pub gap_start: usize,
    /// Probability that a gap follows an element from `gap_start` on: 0 to 1.
    pub gap_prob: f64,
    /// Folder of samples that `selectiv data import` has made; without, they are drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
}

impl DataSpec {
    /// Lengths that a sequence may have, in elements.
    pub const LENGTHS: RangeInclusive<usize> = 2..=10_000;
    /// Most samples of a split: a sample's number is a 32-bit word of its stream's key.
    pub const MAX_SAMPLES: u64 = u32::MAX as u64;

    /// Most time steps of a sample times its elements: kernels count both together.
    pub const MAX_STEPS_BY_ELEMENTS: u64 = (1 << 31) - 1;

    /// Samples with the same number of empty time steps after every symbol and no noise, told apart by `splits`; the
    /// counts are of training, validation and test samples.
    pub fn plain(length: usize, splits: Splits, [train, validation, test]: [u64; 3], gap: Gap) -> Self {
        Self {
            length,
            splits,
            train,
            validation,
            test,
            targets: Targets::Class,
            gap,
            test_gap: gap.into(),
            noise: 0.0,
            nongrammatical: false,
            gap_start: 0,
            gap_prob: 1.0,
            path: None,
        }
    }

    /// Checks every field against its limits.
    ///
    /// # Errors
    /// [`UserError::Value`] for the first one outside, as `data.noise`.
    pub fn validate(&self) -> Result<(), UserError> {
        let within = |field: &str, found: String, is_allowed: bool, allowed: String| match is_allowed {
            true => Ok(()),
            false => Err(refuse(&format!("data.{field}"), found, allowed)),
        };
        let (low, high) = (Self::LENGTHS.start(), Self::LENGTHS.end());
        let length = self.length;
        within(
            "length",
            length.to_string(),
            Self::LENGTHS.contains(&length),
            format!("{low} to {high}"),
        )?;
        for (name, count, least) in [
            ("train", self.train, 1),
            ("validation", self.validation, 0),
            ("test", self.test, 0),
        ] {
            let range = least..=Self::MAX_SAMPLES;
            let allowed = format!("{least} to {}", Self::MAX_SAMPLES);
            within(name, count.to_string(), range.contains(&count), allowed)?;
        }
        for (name, value) in [("noise", self.noise), ("gap_prob", self.gap_prob)] {
            within(
                name,
                value.to_string(),
                (0.0..=1.0).contains(&value),
                "0 to 1".to_owned(),
            )?;
        }
        let start = self.gap_start;
        within(
            "gap_start",
            start.to_string(),
            start <= length,
            format!("0 to data.length = {length}"),
        )?;
        let tested = self.test_gap.all().iter().map(|gap| ("test_gap", *gap));
        for (name, gap) in [("gap", self.gap)].into_iter().chain(tested) {
            // A sample has a step for each element, and after those from `gap_start` on at most so many more.
            let with_gap = (length - start) as u64;
            let most_steps = Self::MAX_STEPS_BY_ELEMENTS / length as u64 - length as u64;
            let allowed = format!(
                "gaps of at most {} s at data.length = {length} and data.gap_start = {start}: the time steps of a sample \
                 times its elements must not be above {}",
                (most_steps / with_gap.max(1)) as f64 / 10.0,
                Self::MAX_STEPS_BY_ELEMENTS
            );
            let fits = with_gap * u64::from(gap.max_steps()) <= most_steps;
            within(name, gap.to_string(), fits, allowed)?;
        }
        Ok(())
    }
}

pub(super) fn refuse(field: &str, found: String, allowed: String) -> UserError {
    UserError::Value {
        place: "task".to_owned(),
        field: field.to_owned(),
        found,
        allowed,
    }
}

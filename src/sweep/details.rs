//! `explained.json`: what a run's accuracy is made of, kept when its weights are not.

use crate::error::{Error, Result, UserError};
use crate::files;
use crate::tasks::{DataSet, DataSpec, Gap, Split, Splits};
use crate::train::explain::{Explained, explain};
use crate::train::records::atomic;
use crate::train::{Machine, Outcome, Score, Setup, until};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The file, in a run's folder.
pub const DETAILS_FILE: &str = "explained.json";

/// Loss and accuracy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tested {
    /// Mean cross entropy per step with a target, in nats.
    pub loss: f64,
    /// Share of the elements whose class was right.
    pub accuracy: f64,
    /// As [`Score::kl`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kl: Option<f64>,
}

impl From<Score> for Tested {
    fn from(score: Score) -> Self {
        Self {
            loss: score.loss,
            accuracy: score.accuracy,
            kl: score.kl,
        }
    }
}

/// The test at one of a task's test gaps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GapTest {
    /// In seconds, or a law of seconds, as a task file has it.
    pub gap: Gap,
    /// Loss and accuracy.
    #[serde(flatten)]
    pub tested: Tested,
    /// What the accuracy is made of.
    #[serde(flatten)]
    pub explained: Explained,
}

/// See the module docs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Details {
    /// Of the program that tested.
    pub commit: String,
    /// The last evaluation on validation samples; none if there are none.
    pub validation: Option<Tested>,
    /// A test for each of the task's test gaps, the first being the one whose accuracy counts.
    pub tests: Vec<GapTest>,
    /// Mean values of the gates on test samples: a list of [`crate::train::GateMean`].
    pub gates: serde_json::Value,
}

impl Details {
    /// Looks at a run whose parameters are on the device. `None` if `stop` was set on the way.
    ///
    /// # Errors
    /// The device's.
    pub(super) fn find(
        machine: &mut Machine,
        setup: &Setup,
        outcome: &Outcome,
        stop: &AtomicBool,
    ) -> Result<Option<Self>> {
        let data = &setup.data;
        let validation = match (data.count(Split::Validation), data.spec().splits) {
            (0, _) => None,
            (_, Splits::Disjoint) => outcome.counters.accuracy.map(|accuracy| Tested {
                loss: outcome.counters.evaluated_loss.unwrap_or(f64::NAN),
                accuracy,
                kl: None,
            }),
            // There the evaluations between updates see test samples, which must not choose.
            (_, Splits::Reference) => match score(machine, data, Split::Validation, stop)? {
                Some(score) => Some(score.into()),
                None => return Ok(None),
            },
        };
        let mut tests = Vec::new();
        for (i, &gap) in data.spec().test_gap.all().iter().enumerate() {
            let data = match i {
                0 => Arc::clone(data),
                _ => {
                    let spec = DataSpec {
                        test_gap: gap.into(),
                        ..data.spec().clone()
                    };
                    Arc::new(DataSet::new(Arc::clone(data.grammar()), spec, setup.recipe.seed)?)
                }
            };
            let tested = match i {
                0 => Some(outcome.test),
                _ => score(machine, &data, Split::Test, stop)?,
            };
            let (evaluator, executor) = machine.evaluator(&data, Split::Test)?;
            let explained = explain(evaluator, executor, &data, Split::Test, &mut until(stop))?;
            let (Some(tested), Some(explained)) = (tested, explained) else {
                return Ok(None);
            };
            tests.push(GapTest {
                gap,
                tested: tested.into(),
                explained,
            });
        }
        let gates =
            serde_json::to_value(machine.gate_means(data)?).expect("names and numbers have a JSON form");
        let commit = env!("SELECTIV_COMMIT").to_owned();
        Ok(Some(Self {
            commit,
            validation,
            tests,
            gates,
        }))
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_string(self).expect("names and numbers have a JSON form");
        atomic::replace(&folder.join(DETAILS_FILE), |out| writeln!(out, "{text}"))
    }

    /// Reads a run's file.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`UserError::Malformed`] if it is none.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(DETAILS_FILE);
        let text = files::read_large(&path, 4).map_err(|source| Error::Io {
            action: "read",
            path: path.clone(),
            source,
        })?;
        serde_json::from_slice(&text).map_err(|e| {
            let place = path.display().to_string();
            UserError::Malformed {
                place,
                message: e.to_string(),
            }
            .into()
        })
    }
}

fn score(
    machine: &mut Machine,
    data: &Arc<DataSet>,
    split: Split,
    stop: &AtomicBool,
) -> Result<Option<Score>> {
    let (evaluator, executor) = machine.evaluator(data, split)?;
    evaluator.run(executor, data, split, &mut until(stop))
}

//! What a sweep says: means over seeds with their intervals, and models compared seed by seed.

use super::grid::PlannedRun;
use super::plan::{Plan, Status};
use super::tables::{Finished, Tables, curve, selected};
use crate::stats::{Mean, Paired, steps_to};
use crate::train::explain::{Explained, Slice};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// How means and intervals are made, in words.
const METHOD: &str = "mean over seeds +- half of its 95 % interval: Student's t, n - 1 degrees\n\
                      of freedom. Differences are paired by seed, with their 95 % intervals; p:\n\
                      paired t test, two-sided, not corrected for the number of comparisons.";

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// How means and intervals are made.
    pub method: &'static str,
    /// Runs that differ in the seed alone, together.
    pub cells: Vec<Cell>,
    /// Every two models of a task whose other fields are the same; of several learning rates (or what else is selected)
    /// the best of each.
    pub comparisons: Vec<Comparison>,
}

/// Runs that differ in the seed alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cell {
    /// The task.
    pub task: String,
    /// The model.
    pub model: String,
    /// The varied fields with their values.
    pub fields: Vec<(String, String)>,
    /// Trainable values.
    pub params: usize,
    /// Whether its values of the selected fields are the best; none where nothing is selected or runs are missing.
    pub selected: Option<bool>,
    /// Runs that are done, of all.
    pub done: [usize; 2],
    /// Runs that diverged.
    pub diverged: usize,
    /// Test accuracy.
    pub accuracy: Option<Mean>,
    /// Test loss, in nats.
    pub loss: Option<Mean>,
    /// The ideal observer's accuracy.
    pub ceiling: Option<Mean>,
    /// Updates to the accuracy that was asked for, over the seeds that reached it.
    pub steps_to: Option<Mean>,
    /// Test accuracy at each test gap.
    pub by_test_gap: Vec<(String, Mean)>,
    /// Test accuracy by place in the string.
    pub by_position: Vec<At>,
    /// By symbol.
    pub by_symbol: Vec<At>,
    /// By distance to the last symbol that tells its state.
    pub by_distance: Vec<At>,
    /// By the time steps of the gap that follows.
    pub by_gap: Vec<At>,
    /// Seed and test accuracy of each run that is done.
    pub seeds: Vec<(u64, f64)>,
}

/// Accuracy of elements that have a number in common.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct At {
    /// The number.
    pub at: u32,
    /// Over seeds.
    #[serde(flatten)]
    pub accuracy: Mean,
}

/// Two models on the same seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The task.
    pub task: String,
    /// The fields that both have.
    pub fields: Vec<(String, String)>,
    /// The two models.
    pub models: [String; 2],
    /// Test accuracy of the first minus that of the second.
    pub accuracy: Paired,
}

impl Summary {
    /// Reads a sweep's folder. Steps are counted to `accuracy`, or to 90 % of each run's ceiling.
    pub fn read(plan: &Plan, folder: &Path, accuracy: Option<f64>) -> Self {
        let rows = Tables::new(plan, folder).read();
        let chosen = selected(plan, &rows);
        let mut groups: BTreeMap<Key<'_>, Vec<usize>> = BTreeMap::new();
        for (i, (run, ..)) in rows.iter().enumerate() {
            groups
                .entry((&run.task, &run.model, &run.fields))
                .or_default()
                .push(i);
        }
        let cell = |places: &Vec<usize>| {
            let runs: Vec<_> = places.iter().map(|&i| &rows[i]).collect();
            cell(&runs, chosen[places[0]], folder, accuracy)
        };
        let cells: Vec<Cell> = groups.values().map(cell).collect();
        let comparisons = compare(plan, &cells);
        Self {
            method: METHOD,
            cells,
            comparisons,
        }
    }
}

type Key<'a> = (&'a str, &'a str, &'a [(String, String)]);
type Found<'a> = (&'a PlannedRun, Status, Option<Finished>);

fn cell(runs: &[&Found<'_>], selected: Option<bool>, folder: &Path, accuracy: Option<f64>) -> Cell {
    let (first, ..) = runs[0];
    let done: Vec<(&PlannedRun, &Finished)> = runs
        .iter()
        .filter_map(|(run, _, finished)| Some((*run, finished.as_ref()?)))
        .collect();
    let mean = |value: &dyn Fn(&Finished) -> f64| {
        let values: Vec<f64> = done
            .iter()
            .map(|(_, f)| value(f))
            .filter(|v| v.is_finite())
            .collect();
        Mean::of(&values)
    };
    let steps: Vec<f64> = done
        .iter()
        .filter_map(|(run, finished)| match accuracy {
            None => finished.steps_to_90pct,
            Some(accuracy) => steps_to(&curve(folder, run), accuracy),
        })
        .map(|steps| steps as f64)
        .collect();
    let explained: Vec<&Explained> = done
        .iter()
        .filter_map(|(_, finished)| Some(&finished.details.as_ref()?.tests.first()?.explained))
        .collect();
    Cell {
        task: first.task.clone(),
        model: first.model.clone(),
        fields: first.fields.clone(),
        params: first.params,
        selected,
        done: [done.len(), runs.len()],
        diverged: runs
            .iter()
            .filter(|(_, status, _)| matches!(status, Status::Diverged(_)))
            .count(),
        accuracy: mean(&|f| f.result.accuracy),
        loss: mean(&|f| f.result.loss),
        ceiling: mean(&|f| f.result.ceiling),
        steps_to: Mean::of(&steps),
        by_test_gap: by_test_gap(&done),
        by_position: by(&explained, |e| &e.by_position),
        by_symbol: by(&explained, |e| &e.by_symbol),
        by_distance: by(&explained, |e| &e.by_distance),
        by_gap: by(&explained, |e| &e.by_gap),
        seeds: done
            .iter()
            .map(|(run, f)| (run.config.train.seed, f.result.accuracy))
            .collect(),
    }
}

fn by_test_gap(done: &[(&PlannedRun, &Finished)]) -> Vec<(String, Mean)> {
    let mut gaps: Vec<(String, Vec<f64>)> = Vec::new();
    for test in done
        .iter()
        .filter_map(|(_, f)| f.details.as_ref())
        .flat_map(|details| &details.tests)
    {
        let name = test.gap.to_string();
        match gaps.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(test.tested.accuracy),
            None => gaps.push((name, vec![test.tested.accuracy])),
        }
    }
    gaps.into_iter()
        .filter_map(|(name, values)| Some((name, Mean::of(&values)?)))
        .collect()
}

fn by(explained: &[&Explained], list: impl Fn(&Explained) -> &Vec<Slice>) -> Vec<At> {
    let mut values: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    for slice in explained.iter().flat_map(|e| list(e)) {
        values.entry(slice.at).or_default().push(slice.accuracy());
    }
    values
        .into_iter()
        .filter_map(|(at, values)| {
            Some(At {
                at,
                accuracy: Mean::of(&values)?,
            })
        })
        .collect()
}

fn compare(plan: &Plan, cells: &[Cell]) -> Vec<Comparison> {
    let shared = |cell: &Cell| -> Vec<(String, String)> {
        let kept = cell
            .fields
            .iter()
            .filter(|(field, _)| !plan.select.contains(field));
        kept.cloned().collect()
    };
    let counts = |cell: &&Cell| plan.select.is_empty() || cell.selected == Some(true);
    let counted: Vec<&Cell> = cells.iter().filter(counts).collect();
    let mut found = Vec::new();
    for (i, first) in counted.iter().enumerate() {
        for second in &counted[i + 1..] {
            let fields = shared(first);
            if first.task != second.task || first.model == second.model || fields != shared(second) {
                continue;
            }
            if let Some(accuracy) = Paired::of(&first.seeds, &second.seeds) {
                found.push(Comparison {
                    task: first.task.clone(),
                    fields,
                    models: [first.model.clone(), second.model.clone()],
                    accuracy,
                });
            }
        }
    }
    found
}

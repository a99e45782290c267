//! `results.csv`, a row a run, and `metrics.csv`, a row a number: what lies in the runs' folders, for other programs.
//!
//! Both are written anew, whole, by whichever process ends a run; a claim on the sweep's folder keeps a table that was read
//! earlier from replacing a newer one. Empty fields are numbers that there are not.

use super::details::{Details, Tested};
use super::grid::PlannedRun;
use super::plan::{self, Plan, Status, run_folder};
use crate::error::Result;
use crate::stats::steps_to;
use crate::train::claim::Claim;
use crate::train::records::metrics::{self, Metrics};
use crate::train::records::{RunResult, atomic};
use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// A row a run.
pub const RESULTS_FILE: &str = "results.csv";
/// A row a number.
pub const METRICS_FILE: &str = "metrics.csv";
/// Columns of `results.csv`, before those of the varied fields.
pub const COLUMNS: [&str; 26] = [
    "run_id",
    "task",
    "model",
    "d_model",
    "layers",
    "seed",
    "lr",
    "warmup",
    "params",
    "state_bytes",
    "status",
    "accuracy",
    "loss",
    "chance",
    "ceiling",
    "baseline_constant",
    "baseline_n1",
    "baseline_n2",
    "steps_to_90pct_of_ceiling",
    "wall_s",
    "tokens_per_s",
    "peak_bytes",
    "adapter",
    "commit",
    "kl",
    "selected",
];
/// How long a claim on the sweep's folder is waited for.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// Share of the ceiling that `steps_to_90pct_of_ceiling` counts updates to.
const SHARE_OF_CEILING: f64 = 0.9;

/// What is known of a run that is done.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Its result.
    pub result: RunResult,
    /// What its accuracy is made of; none if the file is gone.
    pub details: Option<Details>,
    /// The updates after which the validation accuracy was first at 90 % of the ceiling.
    pub steps_to_90pct: Option<u64>,
}

impl Finished {
    /// Reads the files of a run that is done.
    pub fn read(folder: &Path, run: &PlannedRun, result: RunResult) -> Self {
        let level = SHARE_OF_CEILING * result.ceiling;
        let details = Details::read(&run_folder(folder, run)).ok();
        let steps_to_90pct = steps_to(&curve(folder, run), level);
        Self {
            result,
            details,
            steps_to_90pct,
        }
    }

    /// The last accuracy on validation samples.
    pub fn validation(&self) -> Option<f64> {
        self.details.as_ref()?.validation.map(|tested| tested.accuracy)
    }
}

/// Accuracy at each evaluation between updates, by updates.
pub fn curve(folder: &Path, run: &PlannedRun) -> Vec<(u64, f64)> {
    let lines = metrics::read(&run_folder(folder, run)).unwrap_or_default();
    lines
        .iter()
        .filter_map(|line| Some((line.step, line.accuracy?)))
        .collect()
}

/// Writes the tables, remembering what does not change any more.
pub struct Tables<'a> {
    plan: &'a Plan,
    folder: &'a Path,
    known: HashMap<String, Finished>,
    written: Option<Instant>,
}

impl<'a> Tables<'a> {
    /// Nothing is read yet.
    pub fn new(plan: &'a Plan, folder: &'a Path) -> Self {
        Self {
            plan,
            folder,
            known: HashMap::new(),
            written: None,
        }
    }

    /// Writes `results.csv` unless that was done a moment ago.
    ///
    /// # Errors
    /// [`Error::Io`](crate::error::Error::Io).
    pub fn write_some(&mut self, every: Duration) -> Result<()> {
        if self.written.is_some_and(|written| written.elapsed() < every) {
            return Ok(());
        }
        self.under_claim(Self::write_results)
    }

    /// Writes both tables.
    ///
    /// # Errors
    /// [`Error::Io`](crate::error::Error::Io).
    pub fn write_all(&mut self) -> Result<()> {
        self.under_claim(|tables| {
            tables.write_results()?;
            tables.write_metrics()
        })
    }

    fn under_claim(&mut self, write: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let claim = Claim::wait_for(self.folder, PATIENCE)?;
        write(self)?;
        self.written = Some(Instant::now());
        drop(claim);
        Ok(())
    }

    /// What has become of each run, in the plan's order.
    pub fn read(&mut self) -> Vec<(&'a PlannedRun, Status, Option<Finished>)> {
        let mut rows = Vec::new();
        for run in &self.plan.runs {
            let (status, finished) = match self.known.get(&run.id) {
                Some(known) => (Status::Done(Box::new(known.result.clone())), Some(known.clone())),
                None => {
                    let status = plan::status(self.folder, run);
                    let finished = match &status {
                        Status::Done(result) => Some(Finished::read(self.folder, run, (**result).clone())),
                        _ => None,
                    };
                    if let Some(finished) = &finished {
                        self.known.insert(run.id.clone(), finished.clone());
                    }
                    (status, finished)
                }
            };
            rows.push((run, status, finished));
        }
        rows
    }

    fn write_results(&mut self) -> Result<()> {
        let rows = self.read();
        let selected = selected(self.plan, &rows);
        let mut fields: Vec<&str> = Vec::new();
        for (field, _) in self.plan.runs.iter().flat_map(|run| &run.fields) {
            if !fields.contains(&field.as_str()) {
                fields.push(field);
            }
        }
        let path = self.folder.join(RESULTS_FILE);
        atomic::replace(&path, |out| {
            let mut table = csv::Writer::from_writer(out);
            table.write_record(COLUMNS.iter().chain(&fields))?;
            for ((run, status, finished), selected) in rows.iter().zip(&selected) {
                let mut record = record(run, status, finished.as_ref(), *selected);
                for field in &fields {
                    let value = run.fields.iter().find(|(name, _)| name == field);
                    record.push(value.map_or_else(String::new, |(_, value)| value.clone()));
                }
                table.write_record(&record)?;
            }
            table.flush()
        })
    }

    fn write_metrics(&mut self) -> Result<()> {
        let rows = self.read();
        let path = self.folder.join(METRICS_FILE);
        atomic::replace(&path, |out| {
            let mut table = csv::Writer::from_writer(out);
            table.write_record(["run_id", "step", "tokens", "split", "metric", "value"])?;
            for (run, _, finished) in &rows {
                let lines = metrics::read(&run_folder(self.folder, run)).unwrap_or_default();
                for line in &lines {
                    write_line(&mut table, run, line)?;
                }
                if let Some(finished) = finished {
                    write_tests(
                        &mut table,
                        run,
                        finished,
                        lines.last().and_then(|line| line.tokens),
                    )?;
                }
            }
            table.flush()
        })
    }
}

type Table<'a> = csv::Writer<&'a mut dyn Write>;

fn number(value: impl ToString) -> String {
    value.to_string()
}

/// A number that is not finite is none.
fn finite(value: f64) -> String {
    if value.is_finite() {
        value.to_string()
    } else {
        String::new()
    }
}

/// The fixed columns of a row.
fn record(
    run: &PlannedRun,
    status: &Status,
    finished: Option<&Finished>,
    selected: Option<bool>,
) -> Vec<String> {
    let result = finished.map(|finished| &finished.result);
    let of = |value: fn(&RunResult) -> String| result.map_or_else(String::new, value);
    let train = &run.config.train;
    let layers = match &run.config.model.layers {
        crate::config::LayerList::Count(n) => *n,
        crate::config::LayerList::Blocks(list) => list.len(),
    };
    vec![
        run.id.clone(),
        run.task.clone(),
        run.model.clone(),
        number(run.config.model.sizes.d_model),
        number(layers),
        number(train.seed),
        number(train.lr),
        number(train.warmup),
        number(run.params),
        number(run.state_bytes),
        status.name().to_owned(),
        of(|r| finite(r.accuracy)),
        of(|r| finite(r.loss)),
        of(|r| finite(r.chance)),
        of(|r| finite(r.ceiling)),
        of(|r| finite(r.baseline_constant)),
        of(|r| finite(r.baseline_n1)),
        of(|r| finite(r.baseline_n2)),
        finished
            .and_then(|f| f.steps_to_90pct)
            .map_or_else(String::new, number),
        of(|r| finite(r.wall_s)),
        of(|r| finite(r.tokens_per_s)),
        of(|r| number(r.peak_bytes)),
        of(|r| r.device.clone()),
        finished
            .and_then(|f| f.details.as_ref())
            .map_or_else(String::new, |d| d.commit.clone()),
        result.and_then(|r| r.kl).map_or_else(String::new, finite),
        selected.map_or_else(String::new, number),
    ]
}

fn write_line(table: &mut Table<'_>, run: &PlannedRun, line: &Metrics) -> io::Result<()> {
    for (split, metric, value) in line.numbers() {
        if let Some(value) = value {
            write_number(table, run, line.step, line.tokens, [split, metric], value)?;
        }
    }
    Ok(())
}

/// The test, and where there are several test gaps each of them.
fn write_tests(
    table: &mut Table<'_>,
    run: &PlannedRun,
    finished: &Finished,
    tokens: Option<u64>,
) -> io::Result<()> {
    let result = &finished.result;
    let steps = result.steps;
    let numbers = |loss, accuracy, kl: Option<f64>| {
        let kl = kl.map(|kl| ("kl", kl));
        [("loss", loss), ("accuracy", accuracy)].into_iter().chain(kl)
    };
    for (metric, value) in numbers(result.loss, result.accuracy, result.kl) {
        write_number(table, run, steps, tokens, ["test", metric], value)?;
    }
    let tests = finished
        .details
        .as_ref()
        .map_or(&[][..], |details| &details.tests);
    for test in tests.iter().filter(|_| tests.len() > 1) {
        let split = format!("test gap {}", test.gap);
        let Tested { loss, accuracy, kl } = test.tested;
        for (metric, value) in numbers(loss, accuracy, kl) {
            write_number(table, run, steps, tokens, [&split, metric], value)?;
        }
    }
    Ok(())
}

fn write_number(
    table: &mut Table<'_>,
    run: &PlannedRun,
    step: u64,
    tokens: Option<u64>,
    [split, metric]: [&str; 2],
    value: f64,
) -> io::Result<()> {
    let tokens = tokens.map_or_else(String::new, number);
    table.write_record([&run.id, &number(step), &tokens, split, metric, &finite(value)])?;
    Ok(())
}

/// For each run whether its value of the selected fields is the best one: by the last validation accuracy, mean over seeds.
/// `None` where nothing is selected, or not every value has its runs yet.
pub fn selected(plan: &Plan, rows: &[(&PlannedRun, Status, Option<Finished>)]) -> Vec<Option<bool>> {
    let mut best = vec![None; rows.len()];
    if plan.select.is_empty() {
        return best;
    }
    let is_selected = |field: &str| plan.select.iter().any(|selected| selected == field);
    let key = |run: &PlannedRun, of_selected: bool| {
        let fields = run
            .fields
            .iter()
            .filter(|(field, _)| is_selected(field) == of_selected);
        let fields: Vec<String> = fields.map(|(field, value)| format!("{field}={value}")).collect();
        format!("{}\n{}\n{}", run.task, run.model, fields.join("\n"))
    };
    // What differs in the selected fields and the seed alone, and within it what differs in the seed alone.
    let mut rivals: HashMap<String, HashMap<String, Vec<usize>>> = HashMap::new();
    for (i, (run, ..)) in rows.iter().enumerate() {
        let values = rivals.entry(key(run, false)).or_default();
        values.entry(key(run, true)).or_default().push(i);
    }
    for values in rivals.values() {
        let mean = |runs: &Vec<usize>| -> Option<f64> {
            let mut sum = 0.0;
            let mut count = 0;
            for &i in runs {
                match (&rows[i].1, &rows[i].2) {
                    (Status::Done(_), Some(finished)) => {
                        sum += finished.validation()?;
                        count += 1;
                    }
                    // A rate at which a seed diverges is not the best one.
                    (Status::Diverged(_), _) => return Some(f64::NEG_INFINITY),
                    _ => return None,
                }
            }
            Some(sum / f64::from(count.max(1)))
        };
        let means: Option<Vec<(f64, &Vec<usize>)>> =
            values.values().map(|runs| Some((mean(runs)?, runs))).collect();
        let Some(mut means) = means else { continue };
        // Ties go to the run that comes first.
        means.sort_by(|(a, x), (b, y)| b.total_cmp(a).then(x[0].cmp(&y[0])));
        for (place, (mean, runs)) in means.iter().enumerate() {
            for &i in *runs {
                best[i] = Some(place == 0 && mean.is_finite());
            }
        }
    }
    best
}

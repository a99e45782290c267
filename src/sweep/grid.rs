//! From a sweep file to its runs: every combination, its name, its configuration.

use super::budget::Widths;
use super::file::{Axis, Part, SweepFile};
use super::shared::Shared;
use crate::config::{Config, task_name};
use crate::error::{Error, Result, UserError};
use crate::models::ModelConfig;
use crate::tasks::{Grammar, Split};
use crate::train::setup;
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use toml::Value;

/// Longest name of a run, in bytes: a folder's name has to end somewhere.
const MAX_NAME: usize = 200;

/// One run of a sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedRun {
    /// Name of its folder, and `run_id` in the tables.
    pub id: String,
    /// The task's name.
    pub task: String,
    /// The model's name.
    pub model: String,
    /// The varied fields with their values, in the order of the grid; the seed is not among them.
    pub fields: Vec<(String, String)>,
    /// Everything else.
    pub config: Config,
    /// Trainable values.
    pub params: usize,
    /// Bytes of a sequence's state, token by token, at the end of the longest training sample.
    pub state_bytes: usize,
    /// Whether its width was chosen for a budget.
    pub matched: bool,
}

impl SweepFile {
    /// All runs, ordered by name.
    ///
    /// # Errors
    /// [`UserError`] for a model, field or value that is not allowed, a combination that a model cannot have, two runs of one
    /// name, and a budget that no width meets.
    pub(super) fn runs(&self) -> Result<Vec<PlannedRun>> {
        let shared = Shared::default();
        let mut runs = Vec::new();
        for part in &self.parts {
            runs.extend(self.part(part, &shared)?);
        }
        runs.sort_by(|a: &PlannedRun, b| a.id.cmp(&b.id));
        for pair in runs.windows(2) {
            if pair[0].id == pair[1].id {
                let message = format!("two runs have the name {}", pair[0].id);
                return Err(UserError::Malformed {
                    place: self.place.clone(),
                    message,
                }
                .into());
            }
        }
        Ok(runs)
    }

    fn part(&self, part: &Part, shared: &Shared) -> Result<Vec<PlannedRun>> {
        let models: Vec<Option<&str>> = match part.models.len() {
            0 => vec![None],
            _ => part.models.iter().map(|name| Some(name.as_str())).collect(),
        };
        for name in models.iter().flatten() {
            crate::models::block(name).map_err(|e| self.at(e, 1, "models"))?;
        }
        let mut wanted: Vec<(&PathBuf, Option<&str>, Vec<usize>)> = Vec::new();
        for task in &part.tasks {
            for model in &models {
                for point in points(&part.axes) {
                    wanted.push((task, *model, point));
                }
            }
        }
        let widths = Widths::default();
        wanted
            .par_iter()
            .map(|(task, model, point)| self.run(part, task, *model, point, shared, &widths))
            .collect()
    }

    fn run(
        &self,
        part: &Part,
        task: &Path,
        model: Option<&str>,
        point: &[usize],
        shared: &Shared,
        widths: &Widths,
    ) -> Result<PlannedRun> {
        let mut overrides = Vec::new();
        let mut lines = Vec::new();
        for (field, value, line) in &part.set {
            overrides.push((field.clone(), value.to_string()));
            lines.push(*line);
        }
        let mut fields = Vec::new();
        for (axis, &at) in part.axes.iter().zip(point) {
            for (field, value) in axis.fields.iter().zip(&axis.points[at]) {
                overrides.push((field.clone(), value.to_string()));
                lines.push(axis.line);
                if field != "seed" {
                    fields.push((field.clone(), plain(value)));
                }
            }
        }
        // The line of the field that an error is about.
        let place = |error: Error| {
            let text = error.to_string();
            let last = |field: &str| field.rsplit('.').next().unwrap_or(field).to_owned();
            let named = overrides
                .iter()
                .position(|(field, _)| text.contains(field.as_str()));
            let named = named.or_else(|| {
                overrides
                    .iter()
                    .position(|(field, _)| text.contains(&format!("`{}`", last(field))))
            });
            self.at(error, named.map_or(1, |i| lines[i]), "")
        };
        let mut config = Config::load(task, &overrides).map_err(place)?;
        let data = shared.data(&config).map_err(place)?;
        if let Some(budget) = part.budget {
            config = widths.choose(budget, task, &overrides, model, &data, &self.place)?;
        }
        let made = self.model(&config, model, data.grammar()).map_err(place)?;
        let steps = data.max_steps(Split::Train);
        let [params, state_bytes] = shared.sizes(&made, steps).map_err(place)?;
        let task = task_name(task);
        let id = name(&task, &made.name(), &fields, config.train.seed);
        if id.len() > MAX_NAME {
            let message = format!("the run {id} has a name of more than {MAX_NAME} bytes: vary fewer fields");
            return Err(UserError::Malformed {
                place: self.place.clone(),
                message,
            }
            .into());
        }
        Ok(PlannedRun {
            id,
            task,
            model: made.name(),
            fields,
            config,
            params,
            state_bytes,
            matched: part.budget.is_some(),
        })
    }

    fn model(&self, config: &Config, name: Option<&str>, grammar: &Grammar) -> Result<ModelConfig> {
        let model = setup::model(config, name, grammar)?;
        model.validate()?;
        Ok(model)
    }

    /// An error that speaks of the command line, with the place in this file.
    fn at(&self, error: Error, line: usize, named: &str) -> Error {
        let place = format!("{}:{line}", self.place);
        match error {
            Error::User(UserError::Value {
                place: old,
                field,
                found,
                allowed,
            }) if old == "command line" => {
                // There is no flag here.
                let field = if field == "--model" {
                    "models".to_owned()
                } else {
                    field
                };
                UserError::Value {
                    place,
                    field,
                    found,
                    allowed,
                }
                .into()
            }
            Error::User(UserError::Malformed { place: old, message }) if old == "command line" => {
                UserError::Malformed { place, message }.into()
            }
            Error::User(UserError::Unknown { what, name, allowed }) if !named.is_empty() => {
                let field = named.to_owned();
                let found = format!("{name} (an unknown {what})");
                UserError::Value {
                    place: self.place.clone(),
                    field,
                    found,
                    allowed,
                }
                .into()
            }
            Error::User(UserError::Shape { op, reason }) => UserError::Malformed {
                place,
                message: format!("{op}: {reason}"),
            }
            .into(),
            error => error,
        }
    }
}

/// Every combination of one point of each axis; the last axis varies fastest.
fn points(axes: &[Axis]) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for axis in axes {
        let longer = |point: Vec<usize>| {
            (0..axis.points.len()).map(move |i| {
                let mut point = point.clone();
                point.push(i);
                point
            })
        };
        all = all.into_iter().flat_map(longer).collect();
    }
    all
}

/// A value as names and tables show it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Float(x) => x.to_string(),
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join("+"),
        Value::Table(table) => {
            let entry = |(key, value): (&String, &Value)| format!("{key}_{}", plain(value));
            table.iter().map(entry).collect::<Vec<_>>().join("_")
        }
        other => other.to_string(),
    }
}

/// task, model, varied fields, seed. Fields go by their last part where no other has it.
fn name(task: &str, model: &str, fields: &[(String, String)], seed: u64) -> String {
    let last = |field: &str| field.rsplit('.').next().unwrap_or(field).to_owned();
    let mut name = format!("{task}-{model}");
    for (field, value) in fields {
        let short = last(field);
        let alone = short != "seed" && fields.iter().filter(|(other, _)| last(other) == short).count() == 1;
        let field = if alone { &short } else { field };
        name.push_str(&format!("-{field}={value}"));
    }
    name.push_str(&format!("-seed={seed}"));
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._+-=".contains(c);
    name.chars().map(|c| if allowed(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn write(folder: &Path, sweep: &str) -> PathBuf {
        let task = "[grammar]\nvocab = 9\nambiguities = 6\ndepth = 4\n[data]\nlength = 16\ntrain = 96\n[model]\nd_model = 16\n\
                    layers = 1\n[train]\nbatch = 12\n";
        std::fs::write(folder.join("tiny.toml"), task).unwrap();
        let path = folder.join("sweep.toml");
        std::fs::write(&path, sweep).unwrap();
        path
    }

    fn runs(sweep: &str) -> Result<Vec<PlannedRun>> {
        let dir = tempfile::tempdir().unwrap();
        SweepFile::load(&write(dir.path(), sweep))?.runs()
    }

    fn refusal(sweep: &str) -> String {
        let error = runs(sweep).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    }

    const HEAD: &str = "tasks = [\"tiny.toml\"]\nmodels = [\"mamba2\", \"gla\"]\n[grid]\n";

    #[test]
    fn every_combination_has_a_name_and_its_fields() {
        let runs = runs(&format!(
            "{HEAD}\"train.lr\" = [1e-3, 0.01]\n\"grammar.vocab, grammar.ambiguities\" = [[9, 6], [11, 8]]\nseed = [3, 20]\n"
        ))
        .unwrap();
        assert_eq!(runs.len(), 16);
        let first = &runs[0];
        assert_eq!(first.id, "tiny-gla-lr=0.001-vocab=11-ambiguities=8-seed=20");
        assert_eq!(first.config.train.lr, 1e-3);
        assert_eq!(first.config.train.seed, 20);
        let fields: Vec<_> = first.fields.iter().map(|(f, v)| format!("{f} {v}")).collect();
        assert_eq!(
            fields,
            ["train.lr 0.001", "grammar.vocab 11", "grammar.ambiguities 8"]
        );
        assert!(runs.is_sorted_by(|a, b| a.id < b.id));
        assert!(first.params > 1000 && first.state_bytes > 0);
    }

    #[test]
    fn a_seed_of_the_grammar_alone_is_told_from_the_seed() {
        let runs = runs(&format!("{HEAD}\"grammar.seed\" = [5]\nseed = [1]\n")).unwrap();
        assert_eq!(runs[0].id, "tiny-gla-grammar.seed=5-seed=1");
    }

    #[test]
    fn bad_sweeps_are_refused_with_their_line() {
        for (text, expected) in [
            (
                format!("{HEAD}seed = [1, 1]\n"),
                "two runs have the name tiny-gla-seed=1",
            ),
            (
                format!("{HEAD}\"train.speed\" = [1]\n"),
                "sweep.toml:4: train.speed = 1: unknown field `speed`",
            ),
            (
                format!("{HEAD}\"train.lr\" = [1e-3, -1.0]\n"),
                "sweep.toml:4: train.lr = -1",
            ),
            (format!("{HEAD}speed = [1]\n"), "sweep.toml:4"),
            (format!("{HEAD}\"model.decay\" = [\"state\"]\n"), "sweep.toml:4"),
            (
                "tasks = [\"tiny.toml\"]\nmodels = [\"lstm\"]\n[grid]\nseed = [1]\n".to_owned(),
                "lstm",
            ),
            (
                "tasks = [\"none.toml\"]\nmodels = [\"gla\"]\n[grid]\nseed = [1]\n".to_owned(),
                "none.toml",
            ),
            (
                "tasks = [\"tiny.toml\"]\n[grid]\nseed = [1]\n".to_owned(),
                "models = nothing",
            ),
        ] {
            let message = refusal(&text);
            assert!(message.contains(expected), "{text}\n{message}");
        }
    }

    #[test]
    fn widths_of_equal_budget() {
        let head = "tasks = [\"tiny.toml\"]\nmodels = [\"mamba2\", \"gla\", \"transformer\"]\n";
        let runs = runs(&format!(
            "{head}match = {{ params = 1.1e5 }}\n[grid]\nseed = [1]\n"
        ))
        .unwrap();
        for run in &runs {
            let off = run.params as f64 / 1.1e5 - 1.0;
            assert!(off.abs() < 0.1, "{}: {}", run.id, run.params);
        }
        let message = refusal(&format!("{head}match = {{ params = 10 }}\n[grid]\nseed = [1]\n"));
        assert!(message.contains("match"), "{message}");
    }
}

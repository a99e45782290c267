//! What a sweep's folder says about it: the runs that it is made of, and what has become of each.
//!
//! `plan.json` lists the runs with their whole configurations, so that the folder can be moved, continued and shared without
//! the files that it was made from. A run's own folder has `result.json` once it is done, and `failure.json` if it failed
//! or diverged; nothing else is remembered anywhere.

use super::file::{Keep, SweepFile};
use super::grid::PlannedRun;
use super::shared::to_toml;
use crate::config::Config;
use crate::error::{Error, Result, UserError};
use crate::files;
use crate::train::claim::CLAIM_FOLDER;
use crate::train::folder::{FAILURE_FILE, is_begun};
use crate::train::records::{RESULT_FILE, RunResult, atomic};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The list of a sweep's runs, in its folder.
pub const PLAN_FILE: &str = "plan.json";
/// Longest list of names in an error.
const NAMED: usize = 5;

/// A sweep: its runs, ordered by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The runs.
    pub runs: Vec<PlannedRun>,
    /// Fields whose best values are chosen by validation.
    pub select: Vec<String>,
    /// What stays of a run that is done.
    pub keep: Keep,
}

/// [`Plan`] on the disk.
#[derive(Debug, Serialize, Deserialize)]
struct PlanFile {
    version: String,
    commit: String,
    select: Vec<String>,
    keep: Keep,
    runs: Vec<RunFile>,
}

#[derive(Debug, Serialize, Deserialize)]
struct RunFile {
    run_id: String,
    task: String,
    model: String,
    fields: Vec<(String, String)>,
    params: usize,
    state_bytes: usize,
    matched: bool,
    config: String,
}

/// What has become of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Status {
    /// Not begun, or stopped on the way.
    Missing,
    /// Done.
    Done(Box<RunResult>),
    /// Failed for a reason that may go away: it is tried again when the sweep is started again.
    Failed(String),
    /// Ran and went wrong: it would again.
    Diverged(String),
}

impl Status {
    /// As tables name it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Done(_) => "done",
            Self::Failed(_) => "failed",
            Self::Diverged(_) => "diverged",
        }
    }

    /// Whether there is anything to do when a sweep is started.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Missing | Self::Failed(_))
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Failure {
    status: String,
    reason: String,
}

impl Plan {
    /// The runs of a sweep file.
    ///
    /// # Errors
    /// [`UserError`] for whatever is wrong with the file: see [`super::file`].
    pub fn from_file(path: &Path) -> Result<Self> {
        let file = SweepFile::load(path)?;
        Ok(Self {
            runs: file.runs()?,
            select: file.select,
            keep: file.keep,
        })
    }

    /// The runs of a sweep's folder.
    ///
    /// # Errors
    /// [`UserError::Folder`] if it holds no sweep, [`UserError::Malformed`] if its plan cannot be read.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        let path = folder.join(PLAN_FILE);
        let text = files::read_large(&path, 4).map_err(|e| UserError::Folder {
            path: folder.to_owned(),
            reason: format!("holds no sweep ({PLAN_FILE}: {e})"),
        })?;
        let malformed = |message: String| UserError::Malformed {
            place: path.display().to_string(),
            message,
        };
        let file: PlanFile = serde_json::from_slice(&text).map_err(|e| malformed(e.to_string()))?;
        let run = |run: RunFile| {
            let config = Config::from_toml(&run.config, &format!("{} ({})", path.display(), run.run_id))?;
            Ok(PlannedRun {
                id: run.run_id,
                task: run.task,
                model: run.model,
                fields: run.fields,
                config,
                params: run.params,
                state_bytes: run.state_bytes,
                matched: run.matched,
            })
        };
        let runs: Vec<PlannedRun> = file.runs.into_par_iter().map(run).collect::<Result<_>>()?;
        if runs
            .iter()
            .any(|run| Path::new(&run.id).components().count() != 1 || run.id.starts_with('.'))
        {
            return Err(malformed("a run's name is no folder's name".to_owned()).into());
        }
        Ok(Self {
            runs,
            select: file.select,
            keep: file.keep,
        })
    }

    /// Writes `plan.json`, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, folder: &Path) -> Result<()> {
        let run = |run: &PlannedRun| RunFile {
            run_id: run.id.clone(),
            task: run.task.clone(),
            model: run.model.clone(),
            fields: run.fields.clone(),
            params: run.params,
            state_bytes: run.state_bytes,
            matched: run.matched,
            config: run.config.to_toml(""),
        };
        let file = PlanFile {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: env!("SELECTIV_COMMIT").to_owned(),
            select: self.select.clone(),
            keep: self.keep,
            runs: self.runs.iter().map(run).collect(),
        };
        let text = serde_json::to_string_pretty(&file).expect("names and numbers have a JSON form");
        atomic::replace(&folder.join(PLAN_FILE), |out| writeln!(out, "{text}"))
    }

    /// Refuses a plan that does not go with what lies in the folder: runs that have begun may neither change nor disappear.
    ///
    /// # Errors
    /// [`UserError::Folder`] that names the runs and what differs.
    pub fn check_folder(&self, folder: &Path) -> Result<()> {
        if !folder.exists() {
            return Ok(());
        }
        let refuse = |reason: String| UserError::Folder {
            path: folder.to_owned(),
            reason,
        };
        if !folder.join(PLAN_FILE).is_file() {
            let entries = std::fs::read_dir(folder).map_err(|e| refuse(format!("cannot be used: {e}")))?;
            let foreign = entries
                .flatten()
                .map(|e| e.file_name().to_string_lossy().into_owned());
            let foreign: Vec<String> = foreign
                .filter(|name| !name.starts_with('.') && name != CLAIM_FOLDER)
                .collect();
            return match foreign.first() {
                None => Ok(()),
                Some(name) => Err(refuse(format!("holds other files ({name}); choose another --out")).into()),
            };
        }
        let before = Self::from_folder(folder)?;
        let begun = |run: &&PlannedRun| is_begun(&folder.join(&run.id));
        let now: HashMap<&str, &PlannedRun> = self.runs.iter().map(|run| (run.id.as_str(), run)).collect();
        let mut gone = Vec::new();
        let mut changed = Vec::new();
        for run in before.runs.iter().filter(begun) {
            match now.get(run.id.as_str()) {
                None => gone.push(run.id.clone()),
                Some(same) => {
                    let differences = run.config.differences(&same.config);
                    if !differences.is_empty() {
                        let field = |(field, old, new): &(String, String, String)| {
                            format!("{field} = {old}, now {new}")
                        };
                        let fields: Vec<String> = differences.iter().map(field).collect();
                        changed.push(format!("{} ({})", run.id, fields.join("; ")));
                    }
                }
            }
        }
        let list = |names: &[String]| {
            let more = if names.len() > NAMED {
                format!(" and {} more", names.len() - NAMED)
            } else {
                String::new()
            };
            format!("{}{more}", names[..names.len().min(NAMED)].join(", "))
        };
        if !changed.is_empty() {
            let reason = format!("the sweep file changes runs that have begun: {}", list(&changed));
            return Err(refuse(format!("{reason}; choose another --out")).into());
        }
        if !gone.is_empty() {
            let reason = format!(
                "the sweep file no longer has runs that have begun: {}",
                list(&gone)
            );
            return Err(refuse(format!(
                "{reason}; move their folders away first, or choose another --out"
            ))
            .into());
        }
        Ok(())
    }

    /// Runs that are trained once, by their places in [`Plan::runs`]: those that differ in `data.test_gap` alone.
    pub fn groups(&self) -> Vec<Vec<usize>> {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut known: HashMap<String, usize> = HashMap::new();
        for (i, run) in self.runs.iter().enumerate() {
            match known.get(&training(run)) {
                Some(&group) => groups[group].push(i),
                None => {
                    known.insert(training(run), groups.len());
                    groups.push(vec![i]);
                }
            }
        }
        groups
    }
}

/// What decides a run's weights.
fn training(run: &PlannedRun) -> String {
    let mut config = run.config.clone();
    // Which run of which task it was taken from trains nothing else.
    config.run = None;
    config.data.test_gap = config.data.gap.into();
    format!("{}\n{}", run.model, to_toml(&config))
}

/// The folder of a run.
pub fn run_folder(folder: &Path, run: &PlannedRun) -> PathBuf {
    folder.join(&run.id)
}

/// What the disk says about a run.
pub fn status(folder: &Path, run: &PlannedRun) -> Status {
    let own = run_folder(folder, run);
    if own.join(RESULT_FILE).is_file() {
        return match RunResult::read(&own) {
            Ok(result) => match result.diverged() {
                None => Status::Done(Box::new(result)),
                Some(reason) => Status::Diverged(reason.to_string()),
            },
            Err(e) => Status::Failed(e.to_string()),
        };
    }
    let failure = std::fs::read(own.join(FAILURE_FILE)).ok();
    match failure.and_then(|text| serde_json::from_slice::<Failure>(&text).ok()) {
        Some(Failure { status, reason }) if status == "diverged" => Status::Diverged(reason),
        Some(Failure { reason, .. }) => Status::Failed(reason),
        None => Status::Missing,
    }
}

/// Records why a run has no result.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn record_failure(folder: &Path, error: &Error) -> Result<()> {
    let status = if matches!(error, Error::Numeric(_)) {
        "diverged"
    } else {
        "failed"
    };
    let failure = Failure {
        status: status.to_owned(),
        reason: error.to_string(),
    };
    let text = serde_json::to_string(&failure).expect("text has a JSON form");
    std::fs::create_dir_all(folder).map_err(|source| Error::Io {
        action: "create",
        path: folder.to_owned(),
        source,
    })?;
    atomic::replace(&folder.join(FAILURE_FILE), |out| writeln!(out, "{text}"))
}

/// Forgets an earlier failure of a run that is tried again.
pub(super) fn forget_failure(folder: &Path) {
    // If it cannot be removed, the result that comes has the last word.
    let _ = std::fs::remove_file(folder.join(FAILURE_FILE));
}

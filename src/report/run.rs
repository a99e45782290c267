//! A run's folder as a report sees it, whatever state it is in.

use crate::config::Config;
use crate::error::Result;
use crate::sweep::{self, DETAILS_FILE, Details};
use crate::tasks::{DataSet, Split};
use crate::train::folder::{FAILURE_FILE, is_begun, made_by};
use crate::train::records::{Metrics, RESULT_FILE, RunResult, metrics};
use crate::train::{claim, setup};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What has become of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It has a result.
    Done,
    /// It ran and went wrong, with the reason.
    Diverged(String),
    /// Something else went wrong, with the reason.
    Failed(String),
    /// A living process works on it.
    Running,
    /// It was begun and nobody works on it.
    Stopped,
    /// A sweep has planned it and nobody has begun.
    Missing,
}

impl State {
    /// In a word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Diverged(_) => "diverged",
            Self::Failed(_) => "failed",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Missing => "missing",
        }
    }

    /// Why there is no result.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Diverged(reason) | Self::Failed(reason) => Some(reason),
            _ => None,
        }
    }
}

/// A run with all that its folder says of it.
#[derive(Debug, Clone)]
pub struct Run {
    /// The folder's name: `run_id` of a sweep.
    pub id: String,
    /// The folder.
    pub folder: PathBuf,
    /// The task's name.
    pub task: String,
    /// The model's name.
    pub model: String,
    /// What is computed.
    pub config: Config,
    /// Trainable values, where they are known.
    pub params: Option<usize>,
    /// Bytes of a sequence's state, token by token, at the end of the longest training sample.
    pub state_bytes: Option<usize>,
    /// What has become of it.
    pub state: State,
    /// Of a run that is done or diverged in its test.
    pub result: Option<RunResult>,
    /// What its accuracy is made of; only sweeps keep that.
    pub details: Option<Details>,
    /// What was logged between updates.
    pub metrics: Vec<Metrics>,
    /// Whether a sweep chose its values of the selected fields.
    pub selected: Option<bool>,
    /// Of the program that began it.
    pub commit: Option<String>,
    /// When its folder was last written to.
    pub written: Option<SystemTime>,
}

impl Run {
    /// Reads a run's folder that no sweep has planned.
    ///
    /// # Errors
    /// Those of [`Config::load`]; [`UserError::Malformed`](crate::error::UserError) for an `explained.json` that cannot be
    /// read.
    pub fn read(folder: &Path) -> Result<Self> {
        let config = Config::load(&folder.join(crate::train::folder::CONFIG_FILE), &[])?;
        let names = config.run.clone().unwrap_or_default();
        let mut run = Self {
            id: name_of(folder),
            folder: folder.to_owned(),
            task: names.task.unwrap_or_else(|| "?".to_owned()),
            model: names.model.unwrap_or_else(|| "?".to_owned()),
            config,
            params: None,
            state_bytes: None,
            state: State::Missing,
            result: None,
            details: None,
            metrics: Vec::new(),
            selected: None,
            commit: None,
            written: None,
        };
        run.look()?;
        if let Some(result) = &run.result {
            run.task.clone_from(&result.task);
            run.model.clone_from(&result.model);
            run.params = usize::try_from(result.params).ok();
        }
        run.state_bytes = state_bytes(&run.config, &run.model).ok();
        Ok(run)
    }

    /// Reads a run of a sweep.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(super) fn planned(folder: &Path, run: &sweep::PlannedRun, selected: Option<bool>) -> Result<Self> {
        let mut run = Self {
            id: run.id.clone(),
            folder: sweep::run_folder(folder, run),
            task: run.task.clone(),
            model: run.model.clone(),
            config: run.config.clone(),
            params: Some(run.params),
            state_bytes: Some(run.state_bytes),
            state: State::Missing,
            result: None,
            details: None,
            metrics: Vec::new(),
            selected,
            commit: None,
            written: None,
        };
        run.look()?;
        Ok(run)
    }

    /// Fills in what the folder says.
    fn look(&mut self) -> Result<()> {
        let folder = &self.folder;
        // A result that cannot be read costs its run, not the page.
        let result = folder
            .join(RESULT_FILE)
            .is_file()
            .then(|| RunResult::read(folder));
        self.state = match result {
            Some(Err(reason)) => State::Failed(reason.to_string()),
            result => {
                self.result = result.and_then(Result::ok);
                state(folder, self.result.as_ref())
            }
        };
        if folder.join(DETAILS_FILE).is_file() {
            self.details = Some(Details::read(folder)?);
        }
        self.metrics = metrics::read(folder)?;
        let tested_by = self.details.as_ref().map(|details| details.commit.clone());
        self.commit = tested_by.or_else(|| made_by(folder).map(|(commit, _)| commit));
        self.written = written(folder);
        Ok(())
    }

    /// The result of a run that is done.
    pub fn done(&self) -> Option<&RunResult> {
        self.result.as_ref().filter(|_| self.state == State::Done)
    }

    /// What it ran on.
    pub fn device(&self) -> Option<String> {
        let result = self.result.as_ref().map(|result| result.device.clone());
        result.or_else(|| made_by(&self.folder).map(|(_, device)| device))
    }

    /// The command that repeats it.
    pub fn command(&self) -> String {
        format!("selectiv train {}", self.folder.display())
    }
}

/// What has become of a run, by what lies in its folder.
pub fn state(folder: &Path, result: Option<&RunResult>) -> State {
    if let Some(result) = result {
        return match result.diverged() {
            None => State::Done,
            Some(reason) => State::Diverged(reason.to_string()),
        };
    }
    // A disk that does not answer knows of no process either.
    if claim::holder(folder).is_ok_and(|owner| owner.is_some()) {
        return State::Running;
    }
    #[derive(serde::Deserialize)]
    struct Failure {
        status: String,
        reason: String,
    }
    let failure = std::fs::read(folder.join(FAILURE_FILE)).ok();
    match failure.and_then(|text| serde_json::from_slice::<Failure>(&text).ok()) {
        Some(failure) if failure.status == "diverged" => State::Diverged(failure.reason),
        Some(failure) => State::Failed(failure.reason),
        None if is_begun(folder) => State::Stopped,
        None => State::Missing,
    }
}

/// When a run's folder was last written to.
pub fn written(folder: &Path) -> Option<SystemTime> {
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    entries
        .filter_map(|entry| entry.metadata().ok()?.modified().ok())
        .max()
}

fn state_bytes(config: &Config, model: &str) -> Result<usize> {
    let data: DataSet = setup::data_set(config)?;
    let model = setup::model(config, Some(model), data.grammar())?;
    sweep::state_bytes(&model, data.max_steps(Split::Train))
}

/// The last part of a path, or the path where it has none.
pub(super) fn name_of(path: &Path) -> String {
    let name = std::path::absolute(path)
        .ok()
        .and_then(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()));
    name.unwrap_or_else(|| path.display().to_string())
}

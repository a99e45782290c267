//! What a report is made of: run folders, sweep folders, files of `bench --json` and `check --json`.

use super::run::{Run, name_of};
use crate::bench;
use crate::check;
use crate::error::{Error, Result, UserError};
use crate::files;
use crate::sweep::tables::{Tables, selected};
use crate::sweep::{PLAN_FILE, Plan};
use crate::train::folder::{CONFIG_FILE, is_begun};
use rayon::prelude::*;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// A file of `bench --json`.
#[derive(Debug, Clone)]
pub struct BenchFile {
    /// The file.
    pub path: PathBuf,
    /// What it holds.
    pub report: bench::Report,
}

/// A file of `check --json`.
#[derive(Debug, Clone)]
pub struct CheckFile {
    /// The file.
    pub path: PathBuf,
    /// What it holds.
    pub report: check::Report,
}

impl CheckFile {
    /// The card: what the file says, or its name where it is of a version that did not say.
    pub fn card(&self) -> String {
        self.report.device.clone().unwrap_or_else(|| name_of(&self.path))
    }
}

/// A sweep.
#[derive(Debug, Clone)]
pub struct SweepFolder {
    /// Its folder.
    pub path: PathBuf,
    /// Fields whose best values validation chose.
    pub select: Vec<String>,
    /// Its runs.
    pub runs: usize,
}

/// Everything that was given.
#[derive(Debug, Clone, Default)]
pub struct Material {
    /// Sweeps.
    pub sweeps: Vec<SweepFolder>,
    /// All runs, those of sweeps among them.
    pub runs: Vec<Run>,
    /// Benches.
    pub benches: Vec<BenchFile>,
    /// Checks.
    pub checks: Vec<CheckFile>,
}

impl Material {
    /// Reads everything below the given paths.
    ///
    /// # Errors
    /// [`UserError::Folder`] for what is neither, [`UserError::Malformed`] with file and field for a file that cannot be read,
    /// [`Error::Io`].
    pub fn gather(paths: &[PathBuf]) -> Result<Self> {
        let mut found = Self::default();
        for path in paths {
            found.add(path)?;
        }
        // What was given twice is there once.
        let mut seen = HashSet::new();
        found
            .runs
            .retain(|run| seen.insert(std::fs::canonicalize(&run.folder).unwrap_or(run.folder.clone())));
        // Runs of several folders may have one name.
        let mut known: HashSet<String> = HashSet::new();
        for run in &mut found.runs {
            if !known.insert(run.id.clone()) {
                run.id = run.folder.display().to_string();
                known.insert(run.id.clone());
            }
        }
        Ok(found)
    }

    fn add(&mut self, path: &Path) -> Result<()> {
        if path.is_file() {
            return self.add_file(path);
        }
        if path.join(PLAN_FILE).is_file() {
            return self.add_sweep(path);
        }
        if is_begun(path) {
            self.runs.push(Run::read(path)?);
            return Ok(());
        }
        let inside = run_folders(path)?;
        if inside.is_empty() {
            return Err(refuse(
                path,
                &format!("holds no run ({CONFIG_FILE}) and no sweep ({PLAN_FILE})"),
            ));
        }
        for folder in inside {
            self.add(&folder)?;
        }
        Ok(())
    }

    fn add_sweep(&mut self, path: &Path) -> Result<()> {
        let plan = Plan::from_folder(path)?;
        let rows = Tables::new(&plan, path).read();
        let chosen = selected(&plan, &rows);
        let runs: Vec<Run> = plan
            .runs
            .par_iter()
            .zip(&chosen)
            .map(|(run, selected)| Run::planned(path, run, *selected))
            .collect::<Result<_>>()?;
        self.sweeps.push(SweepFolder {
            path: path.to_owned(),
            select: plan.select.clone(),
            runs: runs.len(),
        });
        self.runs.extend(runs);
        Ok(())
    }

    fn add_file(&mut self, path: &Path) -> Result<()> {
        let text =
            files::read_text(path, MOST_BYTES).map_err(|e| refuse(path, &format!("cannot be read: {e}")))?;
        let kind: Kind = serde_json::from_str(&text).map_err(|e| UserError::Malformed {
            place: path.display().to_string(),
            message: format!("no output of `selectiv bench --json` or `selectiv check --json`: {e}"),
        })?;
        match kind {
            Kind { entries: Some(_), .. } => self.benches.push(BenchFile {
                path: path.to_owned(),
                report: bench::Report::read(path)?,
            }),
            Kind { checks: Some(_), .. } => self.checks.push(CheckFile {
                path: path.to_owned(),
                report: check::Report::read(path)?,
            }),
            Kind { .. } => {
                return Err(UserError::Malformed {
                    place: path.display().to_string(),
                    message: "has neither `entries` (as `selectiv bench --json` prints) nor `checks` (as `selectiv check \
                              --json` prints)"
                        .to_owned(),
                }
                .into());
            }
        }
        Ok(())
    }
}

/// Largest output of `bench` or `check`.
const MOST_BYTES: u64 = 64 << 20;

/// What tells the two kinds of files apart.
#[derive(serde::Deserialize)]
struct Kind {
    entries: Option<serde::de::IgnoredAny>,
    checks: Option<serde::de::IgnoredAny>,
}

/// Folders of runs and sweeps in a folder, by name.
///
/// # Errors
/// [`UserError::Folder`] if it cannot be read.
pub fn run_folders(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(path).map_err(|e| refuse(path, &format!("cannot be read: {e}")))?;
    let mut folders: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| is_begun(path) || path.join(PLAN_FILE).is_file())
        .collect();
    folders.sort();
    Ok(folders)
}

fn refuse(path: &Path, reason: &str) -> Error {
    UserError::Folder {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
    .into()
}

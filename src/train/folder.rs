//! The state of a run's folder before a run begins, and what is put there first.

use super::Saved;
use super::checkpoint::{self, Checkpoint};
use super::claim::CLAIM_FOLDER;
use super::records::{CURVE_FILE, METRICS_FILE, RESULT_FILE, RunResult, atomic, metrics};
use super::session::Setup;
use super::setup::{self, GRAMMAR_FILE};
use crate::config::{Config, GrammarConfig, below_comments, fingerprint};
use crate::error::{Error, Result, UserError};
use crate::tasks::Grammar;
use crate::tensor::Precision;
use std::path::Path;

/// The configuration of a run: what makes a folder one.
pub const CONFIG_FILE: &str = "config.toml";
/// The checkpoint of a run that starts from given weights.
const START_FILE: &str = "checkpoint-00000000.safetensors";

/// Why a run of a sweep has no result.
pub const FAILURE_FILE: &str = "failure.json";

/// Whether a folder holds a run.
pub fn is_begun(path: &Path) -> bool {
    path.join(CONFIG_FILE).is_file()
}

/// The commit of the program that began a run, and what it ran on: the first line of its config.toml. `None` if that line
/// is gone.
pub fn made_by(path: &Path) -> Option<(String, String)> {
    let text = std::fs::read_to_string(path.join(CONFIG_FILE)).ok()?;
    let line = text.lines().next()?.strip_prefix("# selectiv ")?;
    let (commit, device) = line.split_once("(commit ")?.1.split_once(") on ")?;
    Some((commit.to_owned(), device.to_owned()))
}

/// Whether a folder holds a run that is done.
pub fn is_finished(path: &Path) -> bool {
    path.join(RESULT_FILE).is_file()
}

/// What the names of other files of a run begin with.
const OWN_PREFIXES: [&str; 2] = ["checkpoint-", "events.out.tfevents."];

/// What a folder holds.
pub enum Folder {
    /// Nothing.
    Fresh,
    /// A run to continue, after its checkpoint if there is one.
    Begun(Option<Box<Saved>>),
    /// A run that is done: its result.
    Finished(Box<RunResult>),
}

/// Looks at a folder that a run wants. `say` hears about damaged checkpoints.
///
/// # Errors
/// [`UserError::Folder`] if the folder is in use and `resume` is not set, if it holds something else, or a run with
/// another configuration or model (all fields that differ are named).
pub fn look(run: &Setup, resume: bool, config: &Config, say: &mut dyn FnMut(&str)) -> Result<Folder> {
    let (path, model) = (run.folder.as_path(), run.model_name.as_str());
    let refuse = |reason: String| UserError::Folder {
        path: path.to_owned(),
        reason,
    };
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Folder::Fresh),
        Err(e) => return Err(refuse(format!("cannot be used as a run's folder: {e}")).into()),
    };
    let file = path.join(CONFIG_FILE);
    if !file.is_file() {
        // A run that was killed before it had written its configuration leaves a temporary file.
        let foreign = entries
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .any(|name| !name.starts_with('.') && name != CLAIM_FOLDER && name != FAILURE_FILE);
        if foreign {
            return Err(refuse("holds other files; choose another --out".to_owned()).into());
        }
        return Ok(Folder::Fresh);
    }
    if !resume {
        let reason = "already holds a run; continue it with --resume or choose another --out";
        return Err(refuse(reason.to_owned()).into());
    }
    metrics::refuse_other_kinds(&path.join(METRICS_FILE))?;
    let there = Config::load(&file, &[])?;
    let mut differences = there.differences(config);
    if config.data.path.is_none()
        && let (GrammarConfig::File { .. }, GrammarConfig::File { .. }) = (&there.grammar, &config.grammar)
    {
        let kept = setup::data_set(&there)?;
        if kept.grammar() == run.data.grammar() {
            // The run keeps a copy under another name.
            differences.retain(|(field, ..)| field != "grammar.file");
        } else if !differences.iter().any(|(field, ..)| field == "grammar.file") {
            let text = |grammar: &Grammar| format!("grammar {}", &grammar.fingerprint()[..12]);
            let (ours, theirs) = (text(kept.grammar()), text(run.data.grammar()));
            differences.push(("grammar.file".to_owned(), ours, theirs));
        }
    }
    if let Some(name) = there
        .run
        .as_ref()
        .and_then(|kept| kept.model.as_deref())
        .filter(|name| *name != model)
    {
        differences.insert(0, ("model".to_owned(), name.to_owned(), model.to_owned()));
    }
    let precision = there
        .run
        .as_ref()
        .and_then(|run| run.precision)
        .unwrap_or_default();
    if precision != run.model.precision {
        let (theirs, ours) = (precision.to_string(), run.model.precision.to_string());
        differences.insert(0, ("precision".to_owned(), theirs, ours));
    }
    let result = differences.is_empty().then(|| whole_result(path, say)).flatten();
    let mut saved = match &result {
        // A whole result needs no checkpoint.
        Some(_) => Saved::latest(path, &mut |_| {}).unwrap_or(None),
        None => Saved::latest(path, say)?,
    };
    if let Some(saved) = &saved
        && saved.state.model != model
        && differences.iter().all(|(field, ..)| field != "model")
    {
        let name = saved.state.model.clone();
        differences.insert(0, ("model".to_owned(), name, model.to_owned()));
    }
    if !differences.is_empty() {
        return Err(refuse(format!("holds a run with {}", listed(&differences))).into());
    }
    if let Some(saved) = &mut saved {
        check_config(path, config, saved)?;
    }
    if let Some(result) = result {
        let others = unlike(&result, config, model);
        if others.is_empty() {
            return Ok(Folder::Finished(Box::new(result)));
        }
        let (file, others) = (path.join(RESULT_FILE), listed(&others));
        if saved.is_none() {
            let reason = format!("is of another config.toml: {others}");
            return Err(UserError::Folder { path: file, reason }.into());
        }
        let file = file.display();
        say(&format!(
            "{file}: is the result of another run ({others}); the test is made again"
        ));
    }
    Ok(Folder::Begun(saved.map(Box::new)))
}

/// Fields that differ, as `field = there, not here`.
fn listed(differences: &[(String, String, String)]) -> String {
    let fields = differences
        .iter()
        .map(|(field, there, here)| format!("{field} = {there}, not {here}"));
    fields.collect::<Vec<_>>().join("; ")
}

/// The result in a folder, if there is a whole one; else the test is made again, and `say` hears why.
fn whole_result(path: &Path, say: &mut dyn FnMut(&str)) -> Option<RunResult> {
    if !is_finished(path) {
        return None;
    }
    let read = RunResult::read(path);
    read.map_err(|e| say(&format!("{e}; the test is made again")))
        .ok()
}

/// What a result says of its configuration and this one does not: field, value there, value here.
fn unlike(result: &RunResult, config: &Config, model: &str) -> Vec<(String, String, String)> {
    let train = &config.train;
    let mut fields = vec![
        ("model".to_owned(), result.model.clone(), model.to_owned()),
        (
            "train.steps".to_owned(),
            result.steps.to_string(),
            train.steps.to_string(),
        ),
        (
            "train.seed".to_owned(),
            result.seed.to_string(),
            train.seed.to_string(),
        ),
        ("train.lr".to_owned(), result.lr.to_string(), train.lr.to_string()),
    ];
    let sizes = setup::sizes(&config.model.sizes);
    // A version has fields that another does not know.
    let known = result.sizes.iter().filter_map(|(name, there)| {
        let here = sizes.get(name)?.to_string();
        Some((format!("model.{name}"), there.to_string(), here))
    });
    fields.extend(known);
    fields.retain(|(_, there, here)| there != here);
    fields
}

/// The precision of the run in a folder, if there is one that says.
pub fn precision(path: &Path) -> Option<Precision> {
    let config = Config::load(&path.join(CONFIG_FILE), &[]).ok()?;
    config.run?.precision
}

/// Configuration and latest checkpoint of a run's folder.
///
/// # Errors
/// [`UserError::Folder`] if the folder holds no run, no checkpoint, or one of another configuration.
pub fn read_run(dir: &Path, say: &mut dyn FnMut(&str)) -> Result<(Config, Saved)> {
    let refuse = |reason: &str| UserError::Folder {
        path: dir.to_owned(),
        reason: reason.to_owned(),
    };
    let file = dir.join(CONFIG_FILE);
    if !file.is_file() {
        return Err(refuse("holds no run (there is no config.toml)").into());
    }
    let config = Config::load(&file, &[])?;
    let mut saved = Saved::latest(dir, say)?.ok_or_else(|| refuse("holds no checkpoint yet"))?;
    check_config(dir, &config, &mut saved)?;
    Ok((config, saved))
}

/// Refuses a checkpoint that was not made with the folder's configuration, whichever version wrote the two; says which
/// fields were changed. One of a version that kept the fingerprint alone gets the text.
fn check_config(dir: &Path, config: &Config, saved: &mut Saved) -> Result<()> {
    let path = dir.join(CONFIG_FILE);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let texts = [below_comments(&text).to_owned(), config.to_toml("")];
    if let Some(text) = texts
        .into_iter()
        .find(|text| fingerprint(text) == saved.config_hash)
    {
        saved.state.config = text;
        return Ok(());
    }
    let began = Config::from_text(path.display().to_string(), dir, &saved.state.config, &[]);
    let changed = match began {
        Ok(began) if !saved.state.config.is_empty() => config.changes(&began),
        _ => Vec::new(),
    };
    let (path, reason) = match changed.is_empty() {
        true => (
            dir.to_owned(),
            "its checkpoint was made with another config.toml".to_owned(),
        ),
        false => (
            path,
            format!("was changed since the run began: {}", listed(&changed)),
        ),
    };
    Err(UserError::Folder { path, reason }.into())
}

/// Refuses a folder in which there is something, but for what an import that was interrupted leaves.
///
/// # Errors
/// [`UserError::Folder`].
pub fn refuse_used(path: &Path) -> Result<()> {
    let refuse = |reason: String| UserError::Folder {
        path: path.to_owned(),
        reason,
    };
    match std::fs::read_dir(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(refuse(format!("cannot be used as a run's folder: {e}")).into()),
        Ok(entries) => {
            let is_new = !path.join(CONFIG_FILE).exists();
            let left = |name: &std::ffi::OsStr| {
                name.to_string_lossy().starts_with('.') || name == START_FILE || name == GRAMMAR_FILE
            };
            let mut names = entries.flatten().map(|entry| entry.file_name());
            if names.all(|name| is_new && left(&name)) {
                return Ok(());
            }
            Err(refuse("is not empty; choose another --out".to_owned()).into())
        }
    }
}

/// Makes the folder of a run from weights. The configuration comes last, as what makes the folder a run: whatever
/// happens before leaves none, and [`refuse_used`] lets a new attempt through.
///
/// # Errors
/// [`Error::Io`]; what was written is removed then.
pub fn create_from(
    path: &Path,
    kept: &Config,
    grammar: &Grammar,
    on: &str,
    start: &Checkpoint,
) -> Result<()> {
    let was_there = path.exists();
    let made = make(path)
        .and_then(|()| checkpoint::save(path, start))
        .and_then(|_| create(path, kept, grammar, on));
    if made.is_err() {
        // What cannot be removed is no run either.
        let _ = std::fs::remove_file(path.join(START_FILE));
        let _ = std::fs::remove_file(path.join(GRAMMAR_FILE));
        if !was_there {
            let _ = std::fs::remove_dir(path);
        }
    }
    made
}

fn make(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|source| Error::Io {
        action: "create",
        path: path.to_owned(),
        source,
    })
}

/// The configuration of a run's folder as it lies.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn config_text(path: &Path) -> Result<Vec<u8>> {
    let path = path.join(CONFIG_FILE);
    std::fs::read(&path).map_err(|source| Error::Io {
        action: "read",
        path,
        source,
    })
}

/// Writes the configuration of a run again if it has gone while the run went on: without it the folder is no run.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn keep_config(path: &Path, text: &[u8]) -> Result<()> {
    let file = path.join(CONFIG_FILE);
    if file.is_file() {
        return Ok(());
    }
    atomic::replace(&file, |out| out.write_all(text))
}

/// Whether a file is one that a run keeps, by its name and the folder that it lies in.
pub fn is_in_run(file: &Path) -> bool {
    let folder = folder_of(file);
    folder.join(CONFIG_FILE).exists() && is_own(file)
}

fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Whether a run has a file of this name.
fn is_own(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let known = [CONFIG_FILE, GRAMMAR_FILE, METRICS_FILE, RESULT_FILE, CURVE_FILE];
    known.contains(&&*name) || OWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a file is one that the run in a folder keeps, or another name of one.
pub fn is_run_file(run: &Path, file: &Path) -> bool {
    let same_folder = match (std::fs::canonicalize(folder_of(file)), std::fs::canonicalize(run)) {
        (Ok(parent), Ok(run)) => parent == run,
        _ => false,
    };
    let mut entries = std::fs::read_dir(run).into_iter().flatten().flatten();
    (same_folder && is_own(file))
        || entries.any(|entry| is_own(&entry.path()) && is_same(&entry.path(), file))
}

#[cfg(unix)]
fn is_same(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |path: &Path| {
        std::fs::metadata(path)
            .map(|found| (found.dev(), found.ino()))
            .ok()
    };
    id(a).is_some_and(|a| Some(a) == id(b))
}

#[cfg(not(unix))]
fn is_same(a: &Path, b: &Path) -> bool {
    std::fs::canonicalize(a).is_ok_and(|a| std::fs::canonicalize(b).is_ok_and(|b| a == b))
}

/// Makes the folder, keeps the grammar if it comes from a file, and writes the configuration ([`setup::kept`]) last, at
/// once or not at all; a run that goes on keeps its own. `on` is the device, or what else the run stands on.
///
/// # Errors
/// [`Error::Io`].
pub fn create(path: &Path, kept: &Config, grammar: &Grammar, on: &str) -> Result<()> {
    if is_begun(path) {
        return Ok(());
    }
    make(path)?;
    if kept.run.as_ref().is_some_and(|run| run.grammar.is_some()) {
        let text = grammar.to_json(kept.data.length).to_string();
        atomic::replace(&path.join(GRAMMAR_FILE), |out| out.write_all(text.as_bytes()))?;
    }
    let version = env!("CARGO_PKG_VERSION");
    let commit = env!("SELECTIV_COMMIT");
    let header = format!("selectiv {version} (commit {commit}) on {on}\nRepeat: selectiv train config.toml");
    let text = kept.to_toml(&header);
    atomic::replace(&path.join(CONFIG_FILE), |out| out.write_all(text.as_bytes()))
}

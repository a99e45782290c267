//! Task files: what a run is made of, read from TOML, checked before any work, and written out again in full.
//!
//! A field comes from the last `--set` or flag that names it, else from the file, else it is the paper's task 1
//! (tasks.md 5, models.md 5). Every refusal names the place (`file:line` or `command line`), the
//! field, what was found and what is allowed.

mod compare;
mod layers;
mod resolve;
#[cfg(test)]
mod tests;

use crate::error::{Result, UserError};
use crate::files;
use crate::models::Sizes;
use crate::tasks::{DataSpec, GrammarSpec};
use crate::tensor::Precision;
use layers::Layers;
use resolve::resolve;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

pub use compare::{below_comments, fingerprint};
pub use resolve::default_warmup;

/// Widths of a model.
pub const D_MODELS: RangeInclusive<u64> = 1..=65_536;
/// How many layers a model has.
pub const LAYERS: RangeInclusive<u64> = 1..=1024;
/// States of a channel or of a head.
pub const D_STATES: RangeInclusive<u64> = 1..=256;
/// Largest task file.
const MOST_BYTES: u64 = 1 << 20;

/// The task files inside the program, by name.
const BUILTIN: [(&str, &str); 5] = [
    ("task1", include_str!("../../tasks/task1.toml")),
    ("task2", include_str!("../../tasks/task2.toml")),
    ("task3", include_str!("../../tasks/task3.toml")),
    ("task4", include_str!("../../tasks/task4.toml")),
    ("quickstart", include_str!("../../tasks/quickstart.toml")),
];

/// Everything that decides what a run computes, apart from the device and, where `model.layers` is a
/// number, the model's name.
///
/// Fields that may be left out of a file (`steps`, `heads`, `test_gap`, ...) are resolved here.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// `[run]`: in a run's own config.toml, which run it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunConfig>,
    /// `[grammar]`
    pub grammar: GrammarConfig,
    /// `[data]`
    pub data: DataSpec,
    /// `[model]`
    pub model: StackConfig,
    /// `[train]`
    pub train: TrainConfig,
    /// What was made of what was given, for a person to know.
    #[serde(skip)]
    pub notes: Notes,
}

/// Lines about a configuration; no part of what it computes.
#[derive(Debug, Clone, Default)]
pub struct Notes(pub Vec<String>);

impl PartialEq for Notes {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// `[run]`: the names of a run and its precision, so that its config.toml alone repeats it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RunConfig {
    /// The task's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// The model's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// [`Grammar::fingerprint`](crate::tasks::Grammar::fingerprint), where the grammar is a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grammar: Option<String>,
    /// [`DataSet::checksum`](crate::tasks::DataSet::checksum), where the samples are from a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// How activations were stored; earlier versions knew f32 alone and did not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
}

/// Where the grammar comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum GrammarConfig {
    /// Made from four numbers (tasks.md 2).
    Generated(GrammarSpec),
    /// Read from a JSON file with the keys of tasks.md 8.
    File {
        /// Absolute; in a task file it is relative to that file, on the command line to the working folder.
        file: PathBuf,
    },
}

/// `[model]`: which blocks, and the sizes that they share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StackConfig {
    /// Blocks.
    pub layers: LayerList,
    /// Sizes and switches.
    #[serde(flatten)]
    pub sizes: Sizes,
}

/// How many blocks, or which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum LayerList {
    /// So many of the model that is named beside the task file.
    Count(usize),
    /// The block of each layer, by name.
    Blocks(Vec<String>),
}

/// `[train]`: the recipe (models.md 5).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrainConfig {
    /// Drives data and weights; below 2^32.
    pub seed: u64,
    /// Samples of an update.
    pub batch: usize,
    /// Updates, and the length of the schedule; `data.train / batch` unless told.
    pub steps: u64,
    /// Peak learning rate.
    pub lr: f64,
    /// Updates of linear warm-up; 476, or half of `steps` where that is less, unless told. A run that is not longer
    /// than its warm-up never leaves it.
    pub warmup: u64,
    /// What follows the warm-up.
    pub schedule: Anneal,
    /// Largest global L2 norm of the gradient.
    pub clip: f64,
    /// Probability that dropout zeroes an element: [0, 1).
    pub dropout: f64,
    /// When dropout is active.
    pub dropout_mode: DropoutMode,
    /// Updates between evaluations on the validation samples; `5000 / batch` unless told.
    pub eval_every: u64,
    /// Updates between checkpoints; `eval_every` unless told.
    pub checkpoint_every: u64,
}

impl TrainConfig {
    /// Training samples that all updates together take.
    pub fn samples_used(&self) -> u64 {
        self.steps.saturating_mul(self.batch as u64)
    }
}

/// What follows the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Anneal {
    /// Half a cosine to 0.
    Cosine,
    /// Half a cosine to a tenth of the peak.
    CosineFloor,
}

impl Anneal {
    /// What the rate decays to, as a fraction of the peak.
    pub fn floor(self) -> f64 {
        match self {
            Self::Cosine => 0.0,
            Self::CosineFloor => 0.1,
        }
    }
}

/// When dropout is active in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropoutMode {
    /// In every update.
    Always,
    /// As in the reference (models.md 6 (quirk 1)).
    Reference,
}

impl Config {
    /// Reads a task file (or, if there is none at `path`, a built-in one named `task1` or `tasks/task1.toml`) and
    /// lays `overrides` over it: pairs of `section.key` and a TOML value, in which a bare word is a string. The key
    /// `seed` sets `train.seed`, and `grammar.seed` too unless that one is named or the grammar is a file.
    ///
    /// # Errors
    /// [`UserError::Folder`] if there is no such file, [`UserError::Malformed`] for bad TOML, unknown fields and
    /// wrong types, [`UserError::Value`] for a value or a combination of values that is not allowed.
    pub fn load(path: &Path, overrides: &[(String, String)]) -> Result<Self> {
        let (place, text) = read_task(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::from_text(place, folder, &text, overrides)
    }

    /// [`Config::load`] of a text. `place` is its name in errors, `folder` what its paths are relative to.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_text(
        place: String,
        folder: &Path,
        text: &str,
        overrides: &[(String, String)],
    ) -> Result<Self> {
        let mut layers = Layers::from_file(place, folder, text)?;
        for (key, value) in layers::expand_seed(overrides, layers.has_grammar_file()) {
            layers.override_field(&key, &value)?;
        }
        resolve(&layers)
    }

    /// Reads what [`Config::to_toml`] has written. `place` is its name in errors.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_toml(text: &str, place: &str) -> Result<Self> {
        Self::from_text(place.to_owned(), Path::new(""), text, &[])
    }

    /// The fields of `[model]`, to be laid over another task.
    pub fn model_fields(&self) -> Vec<(String, String)> {
        let fields = self.fields().into_iter();
        let fields = fields.filter(|(name, _)| name.starts_with("model."));
        fields.map(|(name, value)| (name, value.to_string())).collect()
    }

    /// The whole configuration as a task file that loads to an equal one. Each line of `header` becomes a comment.
    pub fn to_toml(&self, header: &str) -> String {
        let mut out: String = header
            .lines()
            .map(|line| format!("# {line}").trim_end().to_owned() + "\n")
            .collect();
        if !out.is_empty() {
            out.push('\n');
        }
        out + &toml::to_string(self).expect("numbers, strings and UTF-8 paths have a TOML form")
    }
}

/// The task's name in results and folder names: the file's name without `.toml`.
pub fn task_name(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Splits the argument of `--set section.key=value`.
///
/// # Errors
/// [`UserError::Value`] if there is no `=` or nothing before it.
pub fn parse_override(argument: &str) -> Result<(String, String)> {
    match argument.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err(UserError::Value {
            place: "command line".to_owned(),
            field: "--set".to_owned(),
            found: argument.to_owned(),
            allowed: "section.key=value, such as train.lr=1e-3".to_owned(),
        }
        .into()),
    }
}

/// The place and the text of a task file.
fn read_task(path: &Path) -> Result<(String, String)> {
    let place = path.display().to_string();
    let bytes = match files::read(path, MOST_BYTES) {
        Ok(bytes) => bytes,
        Err(error) => {
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            let builtin = BUILTIN.iter().find(|(name, _)| {
                missing
                    && (path == Path::new(name) || path == Path::new("tasks").join(format!("{name}.toml")))
            });
            if let Some((name, text)) = builtin {
                return Ok((format!("{name} (built in)"), (*text).to_owned()));
            }
            let names = BUILTIN.map(|(name, _)| name).join(", ");
            let reason = format!("cannot read this task file ({error}); built in are: {names}");
            let path = path.to_owned();
            return Err(UserError::Folder { path, reason }.into());
        }
    };
    match String::from_utf8(bytes) {
        Ok(text) => Ok((place, text)),
        Err(error) => Err(UserError::Malformed {
            place,
            message: format!("not UTF-8 text from byte {}", error.utf8_error().valid_up_to()),
        }
        .into()),
    }
}

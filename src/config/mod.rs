//! Task files: what a run is made of, read from TOML, checked before any work, and written out again in full.
//!
//! A field comes from the last `--set` or flag that names it, else from the file, else it is the paper's task 1
//! (tasks.md 5, models.md 5). Every refusal names the place (`file:line` or `command line`), the
//! field, what was found and what is allowed.

mod compare;
mod layers;
#[cfg(test)]
mod tests;

use crate::error::{Result, UserError};
use crate::models::{self, Switches};
use layers::{Given, Layers};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Longest sequence, in symbols.
const MAX_LENGTH: u64 = 10_000;
/// Longest gap, in seconds.
const MAX_GAP_S: f64 = 1000.0;
/// Sample numbers and seeds are single 32-bit words of a random stream's key.
const MAX_WORD: u64 = u32::MAX as u64;
/// Warm-up of the paper, in updates.
const PAPER_WARMUP: u64 = 476;
/// The paper evaluates each time this many samples have been trained on.
const PAPER_EVAL_SAMPLES: u64 = 5000;

/// The task files inside the program, by name.
const BUILTIN: [(&str, &str); 2] = [
    ("task1", include_str!("../../tasks/task1.toml")),
    ("quickstart", include_str!("../../tasks/quickstart.toml")),
];

/// Everything that decides what a run computes, apart from the precision, the device and, where `model.layers` is a
/// number, the model's name.
///
/// Fields that may be left out of a file (`steps`, `heads`, `test_gap`, ...) are resolved here.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// `[grammar]`
    pub grammar: GrammarConfig,
    /// `[data]`
    pub data: DataConfig,
    /// `[model]`
    pub model: ModelConfig,
    /// `[train]`
    pub train: TrainConfig,
}

/// Where the grammar comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum GrammarConfig {
    /// Made from four numbers (tasks.md 2).
    Generated {
        /// Symbols, the terminator included: 2 to 53.
        vocab: usize,
        /// Letters that stand for `depth` states each: 0 to `vocab` - 1.
        ambiguities: usize,
        /// States of an ambiguous letter: 1 to 100.
        depth: usize,
        /// Below 2^32.
        seed: u64,
    },
    /// Read from a JSON file with the keys of tasks.md 8.
    File {
        /// Absolute; in a task file it is relative to that file, on the command line to the working folder.
        file: PathBuf,
    },
}

/// `[data]`: the sequences.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DataConfig {
    /// Symbols of a sequence: 1 to 10,000.
    pub length: usize,
    /// How samples of the three sets are told apart.
    pub splits: Splits,
    /// Training samples, each seen once.
    pub train: usize,
    /// Validation samples.
    pub validation: usize,
    /// Test samples.
    pub test: usize,
    /// Seconds of empty input after each symbol, in training and validation; a time step is 0.1 s.
    pub gap: f64,
    /// The same for the test samples.
    pub test_gap: f64,
}

/// The random streams of the samples (tasks.md 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Splits {
    /// Own streams for training, validation and test.
    Disjoint,
    /// The reference's streams: its test samples are its first training samples.
    Reference,
}

/// `[model]`: the sizes that all models share, and the switches of their gates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelConfig {
    /// Width of the residual stream.
    pub d_model: usize,
    /// Blocks.
    pub layers: LayerList,
    /// Heads; [`models::head_count`] of the width unless told.
    pub heads: usize,
    /// Delta steps that a Gated `DeltaProduct` makes a time step: 1 to 8.
    pub householder: usize,
    /// Steps that a chunkwise kernel takes at once: 16, 32 or 64. It never changes the result beyond rounding.
    pub chunk: usize,
    /// States of a channel (Mamba, S4D) or of a head (Mamba2), 1 to 256; as published (64, Mamba2 128) unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub d_state: Option<usize>,
    /// Values (or inner channels) are this many times as wide as keys (or the model): 1 to 8.
    pub expand: usize,
    /// Width of the short convolution: 4, or 0 for none.
    pub conv: usize,
    /// What is changed about the gates of linear recurrent blocks; what is missing is as the block has it.
    #[serde(flatten)]
    pub switches: Switches,
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
    pub schedule: Schedule,
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

/// How the learning rate falls after warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Half a cosine to 0.
    Cosine,
    /// Half a cosine to a tenth of the peak.
    CosineFloor,
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
        let mut layers = Layers::from_file(place, folder, &text)?;
        for (key, value) in layers::expand_seed(overrides, layers.has_grammar_file()) {
            layers.override_field(&key, &value)?;
        }
        resolve(&layers)
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
    let bytes = match std::fs::read(path) {
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

/// Reads every field from the layers, or its default, and checks each alone and all together.
fn resolve(layers: &Layers) -> Result<Config> {
    let grammar = resolve_grammar(layers)?;
    let data = resolve_data(layers)?;
    let model = resolve_model(layers)?;
    let train = resolve_train(layers, data.train as u64)?;
    Ok(Config {
        grammar,
        data,
        model,
        train,
    })
}

fn resolve_grammar(layers: &Layers) -> Result<GrammarConfig> {
    let vocab = layers.given("grammar.vocab", |c| &c.grammar.vocab, 41);
    let ambiguities = layers.given("grammar.ambiguities", |c| &c.grammar.ambiguities, 40);
    let depth = layers.given("grammar.depth", |c| &c.grammar.depth, 40);
    let seed = layers.given("grammar.seed", |c| &c.grammar.seed, 1);
    if let Some((file, on_command_line)) = layers.grammar_file()? {
        // A grammar file on the command line takes the place of the numbers in the task file.
        let rival = |n: &&Given<i64>| n.is_given() && (n.is_on_command_line() || !on_command_line);
        if let Some(extra) = [&vocab, &ambiguities, &depth, &seed].into_iter().find(rival) {
            return Err(extra.refuse("left out, because grammar.file is given"));
        }
        return Ok(GrammarConfig::File { file });
    }
    let vocab = vocab.within(2..=53)?;
    let letters = vocab.value - 1;
    let allowed = format!("0 to grammar.vocab - 1 = {letters}");
    let ambiguities = ambiguities.check(|&a| 0 <= a && a.unsigned_abs() <= letters, &allowed)?;
    let ambiguities = ambiguities.map(i64::unsigned_abs);
    let depth = depth.within(1..=100)?;
    let seed = seed.within(0..=MAX_WORD)?;
    let states = letters - ambiguities.value + ambiguities.value * depth.value + 1;
    if states < 4 {
        let culprit = [&vocab, &ambiguities, &depth].into_iter().find(|n| n.is_given());
        return Err(culprit.unwrap_or(&vocab).refuse(&format!(
            "a grammar of at least 4 states, where vocab - ambiguities + ambiguities * depth = {states}"
        )));
    }
    Ok(GrammarConfig::Generated {
        vocab: size(vocab.value),
        ambiguities: size(ambiguities.value),
        depth: size(depth.value),
        seed: seed.value,
    })
}

fn resolve_data(layers: &Layers) -> Result<DataConfig> {
    let count = 1..=MAX_WORD;
    let gap = layers.gap("data.gap", |c| &c.data.gap, 0.1, MAX_GAP_S)?;
    Ok(DataConfig {
        length: size(
            layers
                .integer("data.length", |c| &c.data.length, 200, 1..=MAX_LENGTH)?
                .value,
        ),
        splits: layers
            .given("data.splits", |c| &c.data.splits, Splits::Disjoint)
            .value,
        train: size(
            layers
                .integer("data.train", |c| &c.data.train, 200_000, count.clone())?
                .value,
        ),
        validation: size(
            layers
                .integer("data.validation", |c| &c.data.validation, 1000, count.clone())?
                .value,
        ),
        test: size(layers.integer("data.test", |c| &c.data.test, 1000, count)?.value),
        gap,
        test_gap: layers.gap("data.test_gap", |c| &c.data.test_gap, gap, MAX_GAP_S)?,
    })
}

fn resolve_model(layers: &Layers) -> Result<ModelConfig> {
    let d_model = layers.integer("model.d_model", |c| &c.model.d_model, 256, 1..=65_536)?;
    let width = d_model.value;
    let heads = if layers.has(|c| &c.model.heads) {
        let heads = layers.integer("model.heads", |c| &c.model.heads, 1, 1..=width)?;
        let allowed = format!("a divisor of model.d_model = {width}");
        heads.check(|&h| width.is_multiple_of(h), &allowed)?.value
    } else {
        let rule = "a multiple of 4 up to 512, above that one that 8, 16, 32, .. divides into heads of at most 128; \
                    or give model.heads";
        let heads = models::head_count(size(width)).ok_or_else(|| d_model.refuse(rule))?;
        heads as u64
    };
    let chunk = layers.given("model.chunk", |c| &c.model.chunk, 64);
    let chunk = chunk.check(|c| [16, 32, 64].contains(c), "16, 32 or 64")?;
    let conv = layers.given("model.conv", |c| &c.model.conv, 4);
    let d_state = layers.optional_integer("model.d_state", |c| &c.model.d_state, 1..=256)?;
    let conv = conv.check(|c| [0, 4].contains(c), "4 (four taps) or 0 (none)")?;
    Ok(ModelConfig {
        d_model: size(width),
        layers: resolve_layers(layers)?,
        heads: size(heads),
        householder: size(
            layers
                .integer("model.householder", |c| &c.model.householder, 4, 1..=8)?
                .value,
        ),
        chunk: size(chunk.value.unsigned_abs()),
        d_state: d_state.map(size),
        expand: size(
            layers
                .integer("model.expand", |c| &c.model.expand, 2, 1..=8)?
                .value,
        ),
        conv: size(conv.value.unsigned_abs()),
        switches: Switches {
            decay: layers.optional(|c| &c.model.decay),
            data_dependent_decay: layers.optional(|c| &c.model.data_dependent_decay),
            input_gate: layers.optional(|c| &c.model.input_gate),
            readout_gate: layers.optional(|c| &c.model.readout_gate),
            channel_mixing: layers.optional(|c| &c.model.channel_mixing),
            conv: (conv.value == 0).then_some(false),
        },
    })
}

fn resolve_layers(layers: &Layers) -> Result<LayerList> {
    let given = layers.given("model.layers", |c| &c.model.layers, toml::Value::Integer(8));
    let names: Vec<&str> = models::BLOCKS.iter().map(|b| b.name()).collect();
    let allowed = format!(
        "an integer from 1 to 1024, or a list of at most 1024 of {}",
        names.join(", ")
    );
    let list = match &given.value {
        toml::Value::Integer(n @ 1..=1024) => Some(LayerList::Count(size(n.unsigned_abs()))),
        toml::Value::Array(list) if (1..=1024).contains(&list.len()) => {
            let known = |v: &toml::Value| v.as_str().filter(|name| names.contains(name)).map(str::to_owned);
            list.iter()
                .map(known)
                .collect::<Option<_>>()
                .map(LayerList::Blocks)
        }
        _ => None,
    };
    list.ok_or_else(|| given.refuse(&allowed))
}

fn resolve_train(layers: &Layers, samples: u64) -> Result<TrainConfig> {
    let batch = layers.integer("train.batch", |c| &c.train.batch, 64, 1..=MAX_WORD)?;
    let batch = batch
        .check(|&b| b <= samples, &format!("1 to data.train = {samples}"))?
        .value;
    let updates = 1..=MAX_WORD;
    let steps = layers
        .integer(
            "train.steps",
            |c| &c.train.steps,
            samples / batch,
            updates.clone(),
        )?
        .value;
    let warmup = PAPER_WARMUP.min(steps / 2);
    let eval = (PAPER_EVAL_SAMPLES / batch).max(1);
    let eval_every = layers
        .integer("train.eval_every", |c| &c.train.eval_every, eval, updates.clone())?
        .value;
    let positive = |v: &f64| v.is_finite() && *v > 0.0;
    let lr: Given<f64> = layers.given("train.lr", |c| &c.train.lr, 1e-3);
    let clip: Given<f64> = layers.given("train.clip", |c| &c.train.clip, 1.0);
    let dropout: Given<f64> = layers.given("train.dropout", |c| &c.train.dropout, 0.2);
    Ok(TrainConfig {
        seed: layers
            .integer("train.seed", |c| &c.train.seed, 1, 0..=MAX_WORD)?
            .value,
        batch: size(batch),
        steps,
        lr: lr.check(positive, "a finite number above 0")?.value,
        warmup: layers
            .integer("train.warmup", |c| &c.train.warmup, warmup, 0..=MAX_WORD)?
            .value,
        schedule: layers
            .given("train.schedule", |c| &c.train.schedule, Schedule::Cosine)
            .value,
        clip: clip.check(positive, "a finite number above 0")?.value,
        dropout: dropout
            .check(|p| (0.0..1.0).contains(p), "0 or more, below 1")?
            .value,
        dropout_mode: layers
            .given(
                "train.dropout_mode",
                |c| &c.train.dropout_mode,
                DropoutMode::Always,
            )
            .value,
        eval_every,
        checkpoint_every: layers
            .integer(
                "train.checkpoint_every",
                |c| &c.train.checkpoint_every,
                eval_every,
                updates,
            )?
            .value,
    })
}

fn size(value: u64) -> usize {
    usize::try_from(value).expect("every count is checked to be below 2^32")
}

//! From a configuration to what a run is made of.

use super::feed::input_form;
use super::schedule::Schedule;
use super::stepper::Recipe;
use crate::config::{Config, DropoutMode, GrammarConfig, LayerList, RunConfig, StackConfig};
use crate::error::{Result, UserError};
use crate::files;
use crate::models::{self, ModelConfig, Sizes};
use crate::tasks::{DataSet, Grammar, Targets, exchange};
use crate::tensor::Precision;
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::sync::Arc;

/// Largest grammar file.
const MOST_GRAMMAR_BYTES: u64 = 64 << 20;
/// The grammar of a run, where its task has a file of its own.
pub const GRAMMAR_FILE: &str = "grammar.json";

/// The samples that a configuration asks for.
///
/// # Errors
/// [`UserError`] if the grammar cannot be made or read, or a value is outside its limits.
pub fn data_set(config: &Config) -> Result<DataSet> {
    if let Some(folder) = &config.data.path {
        return Ok(exchange::open(folder, config.data.clone())?);
    }
    let grammar = match &config.grammar {
        GrammarConfig::Generated(spec) => Grammar::generate(spec)?,
        GrammarConfig::File { file } => {
            let text = files::read_text(file, MOST_GRAMMAR_BYTES).map_err(|e| UserError::Folder {
                path: file.clone(),
                reason: format!("cannot read this grammar: {e}"),
            })?;
            let grammar = Grammar::from_json(&text, &file.display().to_string())?;
            let begun_with = config.run.as_ref().and_then(|run| run.grammar.as_ref());
            if begun_with.is_some_and(|begun| *begun != grammar.fingerprint()) {
                let reason = "was changed since the run began".to_owned();
                let path = file.clone();
                return Err(UserError::Folder { path, reason }.into());
            }
            grammar
        }
    };
    Ok(DataSet::new(
        Arc::new(grammar),
        config.data.clone(),
        config.train.seed,
    )?)
}

/// The model at the configured sizes, in f32, for a grammar's symbols and classes. `name` says which block all layers are,
/// or repeats [`ModelConfig::name`] of a stack whose layers the configuration names.
///
/// # Errors
/// [`UserError`] for an unknown name, one that is missing, and one that contradicts the configuration.
pub fn model(config: &Config, name: Option<&str>, grammar: &Grammar) -> Result<ModelConfig> {
    let refuse = |found: &str, allowed: String| UserError::Value {
        place: "command line".to_owned(),
        field: "--model".to_owned(),
        found: found.to_owned(),
        allowed,
    };
    let blocks = match (&config.model.layers, name) {
        (LayerList::Count(n), Some(name)) => vec![models::block(name)?; *n],
        (LayerList::Count(_), None) => {
            let names: Vec<&str> = models::BLOCKS.iter().map(|b| b.name()).collect();
            let allowed = format!("one of {}; or model.layers as a list of them", names.join(", "));
            return Err(refuse("nothing", allowed).into());
        }
        (LayerList::Blocks(list), _) => list.iter().map(|b| models::block(b)).collect::<Result<_>>()?,
    };
    let model = ModelConfig {
        blocks,
        sizes: config.model.sizes.clone(),
        vocab: grammar.vocab(),
        classes: match config.data.targets {
            Targets::Class => grammar.classes(),
            Targets::Next => grammar.vocab(),
        },
        inputs: input_form(&config.data),
        rope_base: models::ROPE_BASE,
        dropout: config.train.dropout as f32,
        precision: Precision::F32,
    };
    match name {
        Some(name) if name != model.name() => {
            let allowed = format!("left out: model.layers names the blocks ({})", model.name());
            Err(refuse(name, allowed).into())
        }
        _ => Ok(model),
    }
}

/// The configuration as a run's folder keeps it: with the run's names, and with a grammar that is a file as
/// [`GRAMMAR_FILE`] beside it.
pub fn kept(config: &Config, [task, model]: [&str; 2], precision: Precision, data: &DataSet) -> Config {
    let mut kept = config.clone();
    let mut run = RunConfig {
        task: Some(task.to_owned()),
        model: Some(model.to_owned()),
        grammar: None,
        data: data.checksum().map(str::to_owned),
        precision: Some(precision),
    };
    // The grammar of stored samples lies beside them.
    if let (GrammarConfig::File { file }, None) = (&mut kept.grammar, &config.data.path) {
        *file = PathBuf::from(GRAMMAR_FILE);
        run.grammar = Some(data.grammar().fingerprint());
    }
    kept.run = Some(run);
    kept
}

/// What a run's model is beside its name: a layer list whose order or number the name does not say, switches, and sizes
/// that are not `plain`, those of the task file. Empty for a plain model.
pub fn variant(config: &Config, plain: &StackConfig) -> String {
    let mut parts = Vec::new();
    match (&config.model.layers, &plain.layers) {
        (LayerList::Count(n), LayerList::Count(m)) if n == m => {}
        (LayerList::Count(n), _) => parts.push(format!("layers={n}")),
        (LayerList::Blocks(list), _) => {
            let repeats = list.iter().enumerate().any(|(i, name)| list[..i].contains(name));
            if repeats {
                parts.push(stack(list));
            }
        }
    }
    let (all, plain) = (sizes(&config.model.sizes), sizes(&plain.sizes));
    let switches = [
        "decay",
        "data_dependent_decay",
        "input_gate",
        "readout_gate",
        "channel_mixing",
    ];
    let default_heads = models::head_count(config.model.sizes.d_model);
    for (name, value) in &all {
        let is_plain = match name.as_str() {
            name if switches.contains(&name) => false,
            "conv" => *value == 4,
            "heads" if default_heads == Some(config.model.sizes.heads) => true,
            _ => plain.get(name) == Some(value),
        };
        if !is_plain {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            parts.push(format!("{name}={text}"));
        }
    }
    parts.join("-")
}

/// The sizes and switches of `[model]` by name.
pub fn sizes(sizes: &Sizes) -> Map<String, Value> {
    match serde_json::to_value(sizes) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// A model with all that tells it apart, as [`RunResult::model_text`](super::records::RunResult::model_text) has it: its
/// name, the block of each layer, the width, and the sizes and switches.
pub fn model_text(name: &str, blocks: &[String], d_model: usize, all: &Map<String, Value>) -> String {
    let mut parts = vec![match blocks.len() {
        0 => name.to_owned(),
        1 => format!("{name}, 1 layer"),
        n if blocks.iter().all(|block| *block == blocks[0]) => format!("{name}, {n} layers"),
        _ => stack(blocks),
    }];
    parts.push(format!("d_model {d_model}"));
    let plain = sizes(&Sizes::new(d_model));
    for (name, value) in all {
        if plain.get(name) != Some(value) {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            parts.push(format!("{name} {text}"));
        }
    }
    parts.join(", ")
}

/// A list of blocks, equal neighbours counted: `2xgated_delta_net+transformer`.
pub fn stack(blocks: &[String]) -> String {
    let parts = blocks.chunk_by(|a, b| a == b).map(|run| match run.len() {
        1 => run[0].clone(),
        n => format!("{n}x{}", run[0]),
    });
    parts.collect::<Vec<_>>().join("+")
}

/// How the updates are made.
pub fn recipe(config: &Config) -> Recipe {
    let train = &config.train;
    Recipe {
        schedule: Schedule {
            lr: train.lr,
            warmup: train.warmup as f64,
            steps: train.steps,
            floor: train.schedule.floor(),
        },
        clip: train.clip as f32,
        dropout_until: match train.dropout_mode {
            DropoutMode::Always => u64::MAX,
            DropoutMode::Reference => train.eval_every,
        },
        seed: train.seed,
        batch: train.batch,
    }
}

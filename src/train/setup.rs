//! From a configuration to what a run is made of.

use super::feed::input_form;
use super::schedule::Schedule;
use super::stepper::Recipe;
use crate::config::{Config, DropoutMode, GrammarConfig, LayerList};
use crate::error::{Result, UserError};
use crate::files;
use crate::models::{self, ModelConfig};
use crate::tasks::{DataSet, Grammar, Targets, exchange};
use std::sync::Arc;

/// Largest grammar file.
const MOST_GRAMMAR_BYTES: u64 = 64 << 20;

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
            Grammar::from_json(&text, &file.display().to_string())?
        }
    };
    Ok(DataSet::new(
        Arc::new(grammar),
        config.data.clone(),
        config.train.seed,
    )?)
}

/// The model at the configured sizes, for a grammar's symbols and classes. `name` says which block all layers are,
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
    };
    match name {
        Some(name) if name != model.name() => {
            let allowed = format!("left out: model.layers names the blocks ({})", model.name());
            Err(refuse(name, allowed).into())
        }
        _ => Ok(model),
    }
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

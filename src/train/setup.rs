//! From a configuration to what a run is made of.

use super::schedule::Schedule;
use super::stepper::Recipe;
use crate::config::{self, Config, DropoutMode, GrammarConfig};
use crate::error::{Result, UserError};
use crate::models::{BlockKind, ModelConfig};
use crate::tasks::{DataSet, DataSpec, Grammar, GrammarSpec, Splits, plain_gap_steps};
use std::sync::Arc;

/// What the cosine decays to with `schedule = "cosine_floor"`, as a fraction of the peak.
const FLOOR: f64 = 0.1;

/// The samples that a configuration asks for.
///
/// # Errors
/// [`UserError`] if the grammar cannot be made or read, or a value is outside its limits.
pub fn data_set(config: &Config) -> Result<DataSet> {
    let grammar = match &config.grammar {
        GrammarConfig::Generated {
            vocab,
            ambiguities,
            depth,
            seed,
        } => {
            let size = |n: usize| u32::try_from(n).expect("a configuration keeps to its limits");
            Grammar::generate(&GrammarSpec {
                vocab: size(*vocab),
                ambiguities: size(*ambiguities),
                depth: size(*depth),
                seed: *seed,
            })?
        }
        GrammarConfig::File { file } => {
            let text = std::fs::read_to_string(file).map_err(|e| UserError::Folder {
                path: file.clone(),
                reason: format!("cannot read this grammar: {e}"),
            })?;
            Grammar::from_json(&text, &file.display().to_string())?
        }
    };
    let data = &config.data;
    let spec = DataSpec {
        length: data.length,
        splits: match data.splits {
            config::Splits::Disjoint => Splits::Disjoint,
            config::Splits::Reference => Splits::Reference,
        },
        train: data.train as u64,
        validation: data.validation as u64,
        test: data.test as u64,
        gap_steps: plain_gap_steps(data.gap, "data.gap")?,
        test_gap_steps: plain_gap_steps(data.test_gap, "data.test_gap")?,
    };
    Ok(DataSet::new(Arc::new(grammar), spec, config.train.seed)?)
}

/// The model of that name at the configured sizes, for a grammar's symbols and classes.
///
/// # Errors
/// [`UserError::Unknown`] with the names there are.
pub fn model(config: &Config, name: &str, grammar: &Grammar) -> Result<ModelConfig> {
    let kind = BlockKind::from_name(name)?;
    Ok(ModelConfig {
        blocks: vec![kind; config.model.layers],
        d_model: config.model.d_model,
        heads: config.model.heads,
        vocab: grammar.vocab(),
        classes: grammar.classes(),
        chunk: config.model.chunk,
        d_state: config.model.d_state,
        dropout: config.train.dropout as f32,
    })
}

/// How the updates are made.
pub fn recipe(config: &Config) -> Recipe {
    let train = &config.train;
    Recipe {
        schedule: Schedule {
            lr: train.lr,
            warmup: train.warmup as f64,
            steps: train.steps,
            floor: match train.schedule {
                config::Schedule::Cosine => 0.0,
                config::Schedule::CosineFloor => FLOOR,
            },
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

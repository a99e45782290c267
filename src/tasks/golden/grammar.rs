//! Golden grammars, sequences and time steps.

use super::{field, malformed};
use crate::error::UserError;
use crate::tasks::batch::NO_SYMBOL;
use crate::tasks::data::DataSet;
use crate::tasks::gap::Gap;
use crate::tasks::grammar::{Grammar, GrammarSpec};
use crate::tasks::sequence::Sampler;
use crate::tasks::spec::{DataSpec, Split, Splits, Targets};
use crate::tasks::streams::Pcg64;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Relative accuracy of the topological entropy, which is an eigenvalue and not defined to the last bit.
const ENTROPY_TOLERANCE: f64 = 1e-9;

fn spec(json: &Value) -> Result<GrammarSpec, UserError> {
    Ok(GrammarSpec {
        vocab: field(json, "vocab")?,
        ambiguities: field(json, "ambiguities")?,
        depth: field(json, "depth")?,
        seed: field(json, "seed")?,
    })
}

/// Makes the grammar of a `grammar-*.json` anew from its `vocab`, `ambiguities`, `depth` and `seed`, and the
/// sequences from their `idx`. Returns the names of the fields that differ; fields that we do not print are
/// not compared.
///
/// # Errors
/// [`UserError`] for a file of another form, or values outside the limits.
pub fn check_grammar(json: &Value) -> Result<Vec<String>, UserError> {
    let spec = spec(json)?;
    let length: usize = field(json, "length")?;
    let grammar = Grammar::generate(&spec)?;
    let mut differences = Vec::new();
    for (key, found) in grammar.to_json(length).as_object().into_iter().flatten() {
        let Some(expected) = json.get(key) else { continue };
        let equal = match (key.as_str(), found.as_f64(), expected.as_f64()) {
            ("topological_entropy", Some(found), Some(expected)) => {
                (found - expected).abs() <= ENTROPY_TOLERANCE * expected.abs()
            }
            _ => found == expected,
        };
        if !equal {
            differences.push(key.clone());
        }
    }
    let mut sampler = Sampler::new(length);
    let mut states = vec![0; length];
    let sequences: Vec<Value> = if json.get("sequences").is_some() {
        field(json, "sequences")?
    } else {
        Vec::new()
    };
    for sequence in &sequences {
        let idx: u64 = field(sequence, "idx")?;
        let mut rng = Pcg64::new(u128::from(spec.seed) * u128::from(idx));
        sampler.draw(&grammar, &mut rng, &mut states)?;
        let symbols: Value = states
            .iter()
            .map(|&s| grammar.symbols()[usize::from(s)])
            .collect();
        let targets: Value = states.iter().map(|&s| grammar.ids()[usize::from(s)]).collect();
        for (name, found) in [("symbols", symbols), ("targets", targets)] {
            if sequence.get(name) != Some(&found) {
                differences.push(format!("sequences idx {idx} {name}"));
            }
        }
    }
    Ok(differences)
}

/// Makes the time steps of a `steps-*.json` anew. Returns the names of the fields that differ.
///
/// # Errors
/// [`UserError`] for a file of another form, or values outside the limits.
pub fn check_steps(json: &Value) -> Result<Vec<String>, UserError> {
    let data = data_set(json, |plain| {
        Ok(DataSpec {
            gap: gap(&json["gap"])?,
            noise: field(json, "noise")?,
            nongrammatical: field(json, "nongrammatical")?,
            gap_start: field(json, "gap_start")?,
            gap_prob: field(json, "gap_prob")?,
            ..plain
        })
    })?;
    differences(json, |idx| {
        let batch = data.batch(Split::Train, idx, 1);
        let vocab = data.grammar().vocab();
        let rows = data.dense(&batch);
        let row = |row: &[f32]| -> Value { row.iter().map(|&value| json!(f64::from(value))).collect() };
        let gaps: Value = batch.windows.iter().map(|&[_, steps]| steps - 1).collect();
        let bytes: Vec<u8> = rows.iter().flat_map(|value| value.to_le_bytes()).collect();
        let hash: String = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        vec![
            ("input", rows.chunks(vocab).map(row).collect()),
            ("input_row0", row(&rows[..vocab])),
            ("input_sha256", json!(hash)),
            ("symbols", json!(batch.symbols)),
            ("step_symbols", json!(batch.spread_symbols())),
            ("steps", json!(batch.t)),
            ("gap_steps", gaps),
            ("window_targets", json!(batch.window_labels)),
        ]
    })
}

/// Makes the steps of a `predict-*.json` anew: the next symbol and its probabilities at each step, with a gap of one step.
/// Returns the names of the fields that differ.
///
/// # Errors
/// As [`check_steps`].
pub fn check_predict(json: &Value) -> Result<Vec<String>, UserError> {
    let data = data_set(json, |plain| {
        Ok(DataSpec {
            targets: Targets::Next,
            ..plain
        })
    })?;
    differences(json, |idx| {
        let batch = data.batch(Split::Train, idx, 1);
        let states = data.sample(Split::Train, idx).states;
        let symbols = batch.spread_symbols();
        let is_gap: Value = symbols
            .iter()
            .map(|&symbol| u8::from(symbol == NO_SYMBOL))
            .collect();
        let shown: Value = symbols
            .iter()
            .map(|&s| if s == NO_SYMBOL { 0 } else { s })
            .collect();
        let probabilities = states
            .iter()
            .zip(&batch.windows)
            .flat_map(|(&state, &[_, steps])| {
                let row = data.next_probabilities(state);
                std::iter::repeat_n(json!(row), steps as usize)
            });
        let ids: Value = states
            .iter()
            .map(|&state| data.grammar().ids()[usize::from(state)])
            .collect();
        vec![
            ("step_symbols", shown),
            ("gap_steps", is_gap),
            ("next", json!(batch.step_labels())),
            ("probs", probabilities.collect()),
            ("states", ids),
        ]
    })
}

/// The reference's samples of a golden file; `refine` makes its data set from one with gaps of one step.
fn data_set(
    json: &Value,
    refine: impl FnOnce(DataSpec) -> Result<DataSpec, UserError>,
) -> Result<DataSet, UserError> {
    let samples: Vec<Value> = field(json, "samples")?;
    let spec = spec(json)?;
    let counts = [samples.len() as u64, 0, 0];
    let plain = DataSpec::plain(field(json, "length")?, Splits::Reference, counts, Gap::Fixed(1));
    DataSet::new(Arc::new(Grammar::generate(&spec)?), refine(plain)?, spec.seed)
}

/// Compares what was made with the samples of a golden file, whose fields need not all be there.
fn differences(
    json: &Value,
    make: impl Fn(u64) -> Vec<(&'static str, Value)>,
) -> Result<Vec<String>, UserError> {
    let samples: Vec<Value> = field(json, "samples")?;
    let mut differences = Vec::new();
    for (idx, expected) in (0..).zip(&samples) {
        if field::<u64>(expected, "idx")? != idx {
            return Err(malformed("samples are not in order from idx 0".to_owned()));
        }
        for (key, found) in make(idx) {
            if expected.get(key).is_some_and(|expected| *expected != found) {
                differences.push(format!("idx {idx} {key}"));
            }
        }
    }
    Ok(differences)
}

fn gap(json: &Value) -> Result<Gap, UserError> {
    if let Some(seconds) = json["fixed"].as_f64() {
        return Gap::fixed(seconds).ok_or_else(|| malformed(format!("`gap`: allowed: {}", Gap::ALLOWED)));
    }
    let dist: String = field(json, "dist")?;
    if dist != "uniform" {
        return Err(malformed(format!("`gap`: unknown dist {dist:?}")));
    }
    let params: Value = field(json, "params")?;
    Ok(Gap::Uniform([field(&params, "low")?, field(&params, "high")?]))
}

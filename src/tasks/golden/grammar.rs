//! Golden grammars, sequences and time steps.

use super::{field, malformed};
use crate::error::UserError;
use crate::tasks::batch::{Batch, NO_SYMBOL};
use crate::tasks::data::{DataSet, DataSpec, Split, Splits};
use crate::tasks::gap::Gap;
use crate::tasks::grammar::{Grammar, GrammarSpec};
use crate::tasks::sequence::Sampler;
use crate::tasks::streams::Pcg64;
use serde_json::{Value, json};
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

/// Makes the time steps of a `steps-*.json` anew. Returns the names of the fields that differ, or `None` if
/// the file has gaps of random length, wrong symbols in gaps, or noise.
///
/// # Errors
/// [`UserError`] for a file of another form, or values outside the limits.
pub fn check_steps(json: &Value) -> Result<Option<Vec<String>>, UserError> {
    let noise: f64 = field(json, "noise")?;
    let nongrammatical: bool = field(json, "nongrammatical")?;
    let (gap_start, gap_prob): (u64, f64) = (field(json, "gap_start")?, field(json, "gap_prob")?);
    let plain = noise == 0.0 && !nongrammatical && gap_start == 0 && gap_prob == 1.0;
    let Some(gap) = fixed_gap(&json["gap"]).filter(|_| plain) else {
        return Ok(None);
    };
    let samples: Vec<Value> = field(json, "samples")?;
    let spec = spec(json)?;
    let counts = [samples.len() as u64, 0, 0];
    let data_spec = DataSpec::plain(field(json, "length")?, Splits::Reference, counts, gap);
    let seed = spec.seed;
    let data = DataSet::new(Arc::new(Grammar::generate(&spec)?), data_spec, seed)?;
    let mut differences = Vec::new();
    for (idx, expected) in (0..).zip(&samples) {
        if field::<u64>(expected, "idx")? != idx {
            return Err(malformed("samples are not in order from idx 0".to_owned()));
        }
        let found = sample_json(&data.batch(Split::Train, idx, 1), data.grammar().vocab());
        for (key, found) in found {
            if expected.get(key).is_some_and(|expected| *expected != found) {
                differences.push(format!("idx {idx} {key}"));
            }
        }
    }
    Ok(Some(differences))
}

fn fixed_gap(gap: &Value) -> Option<Gap> {
    let range = &gap["params"];
    let same = range["low"].as_f64().filter(|_| range["low"] == range["high"]);
    gap["fixed"].as_f64().or(same).and_then(Gap::fixed)
}

/// A batch of one sample under the names of the golden file.
fn sample_json(batch: &Batch, vocab: usize) -> [(&'static str, Value); 6] {
    let row = |symbol: u32| -> Value {
        (0..vocab as u32)
            .map(|channel| json!(if channel == symbol { 1.0 } else { 0.0 }))
            .collect()
    };
    let symbols: Vec<u32> = batch
        .symbols
        .iter()
        .copied()
        .filter(|&s| s != NO_SYMBOL)
        .collect();
    let gaps: Value = batch.windows.iter().map(|&[_, steps]| steps - 1).collect();
    [
        ("input", batch.symbols.iter().map(|&s| row(s)).collect()),
        ("input_row0", row(batch.symbols[0])),
        ("symbols", json!(symbols)),
        ("steps", json!(batch.t)),
        ("gap_steps", gaps),
        ("window_targets", json!(batch.window_labels)),
    ]
}

//! Grammars, sequences and random streams against their goldens, bit for bit.

use super::index::{GrammarEntry, Index};
use super::{Hear, Outcome, Source};
use crate::cases::Deviation;
use crate::error::Result;
use crate::tasks::golden::{check_grammar, check_predict, check_rng, check_steps};
use serde_json::Value;

/// Entries of `grammars/index.json`, where it is there.
pub(super) fn listed(source: &Source) -> Result<usize> {
    if !source.has("grammars/index.json") {
        return Ok(0);
    }
    Ok(Index::<GrammarEntry>::read(source, "grammars")?.entries.len())
}

/// Runs the entries of `grammars/index.json`.
///
/// # Errors
/// [`crate::error::UserError::Malformed`] for files that are missing or cannot be read; a failed check is no error.
pub fn grammars(source: &Source, report: &mut Hear<'_>) -> Result<()> {
    for GrammarEntry { file, kind } in Index::read(source, "grammars")?.entries {
        let json: Value = source.json(&format!("grammars/{file}"))?;
        let name = format!("grammars {file}");
        let wrong: Option<Vec<String>> = match kind.as_str() {
            "grammar" => Some(check_grammar(&json)?),
            "rng" => Some(
                check_rng(&json)?
                    .into_iter()
                    .filter(|(_, same)| !same)
                    .map(|(name, _)| name)
                    .collect(),
            ),
            "steps" => Some(check_steps(&json)?),
            "predict" => Some(check_predict(&json)?),
            _ => None,
        };
        report(match wrong {
            None => Outcome::skipped(&name, "CPU", &format!("entries of kind {kind} are unknown")),
            Some(wrong) => Outcome::new(&name, "CPU", vec![exact(&wrong)]),
        })?;
    }
    Ok(())
}

/// All fields must be the same: an error of 1 for each that is not.
fn exact(wrong: &[String]) -> Deviation {
    let tensor = if wrong.is_empty() {
        "all fields".to_owned()
    } else {
        wrong.join(", ")
    };
    Deviation {
        tensor,
        error: wrong.len() as f64,
        allowed: 0.0,
        worst: (0, wrong.len() as f64, 0.0),
    }
}

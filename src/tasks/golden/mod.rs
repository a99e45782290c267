//! Golden data of the tasks, recomputed: what `check` runs on `grammars/*.json`.
//!
//! Each function takes a parsed golden file, makes everything in it anew from its seeds, and names what
//! differs. Floats are compared exactly, so the JSON must be parsed with correct rounding.

mod grammar;
mod random;

pub use grammar::{check_grammar, check_predict, check_steps};
pub use random::check_rng;

use crate::error::UserError;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The field `key` of a golden file, as the type it should have.
fn field<T: DeserializeOwned>(json: &Value, key: &str) -> Result<T, UserError> {
    let value = json.get(key).ok_or_else(|| malformed(format!("no `{key}`")))?;
    serde_json::from_value(value.clone()).map_err(|e| malformed(format!("`{key}`: {e}")))
}

fn malformed(message: String) -> UserError {
    UserError::Malformed {
        place: "golden file".to_owned(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn folder() -> PathBuf {
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/grammars").into()
    }

    /// The golden files of one kind, by the index.
    fn files(kind: &str) -> Vec<(String, Value)> {
        let read = |name: &str| -> Value {
            serde_json::from_str(&std::fs::read_to_string(folder().join(name)).unwrap()).unwrap()
        };
        let index = read("index.json");
        let entries = index["entries"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|entry| entry["kind"] == kind);
        entries
            .map(|entry| entry["file"].as_str().unwrap())
            .map(|name| (name.to_owned(), read(name)))
            .collect()
    }

    #[test]
    fn every_golden_grammar_is_made_bit_for_bit() {
        let files = files("grammar");
        assert!(files.len() >= 8);
        for (name, json) in files {
            assert_eq!(check_grammar(&json).unwrap(), [""; 0], "{name}");
        }
    }

    #[test]
    fn every_golden_random_stream_is_made_bit_for_bit() {
        for (name, json) in files("rng") {
            let results = check_rng(&json).unwrap();
            assert!(results.len() >= 170, "{name}: {}", results.len());
            for (field, equal) in results {
                assert!(equal, "{name}: {field}");
            }
        }
    }

    #[test]
    fn golden_time_steps_are_made_bit_for_bit() {
        let (steps, predict) = (files("steps"), files("predict"));
        assert!(steps.len() >= 7 && !predict.is_empty());
        for (name, json) in steps {
            assert_eq!(check_steps(&json).unwrap(), [""; 0], "{name}");
        }
        for (name, json) in predict {
            assert_eq!(check_predict(&json).unwrap(), [""; 0], "{name}");
        }
    }

    #[test]
    fn changed_goldens_are_found_by_field() {
        let (_, mut json) = files("grammar").swap_remove(0);
        json["ids"][3] = 99.into();
        json["sequences"][2]["targets"][7] = 99.into();
        json["transitions"][1][2] = 0.25000000000000006.into();
        let idx = json["sequences"][2]["idx"].clone();
        let expected = [
            "ids".to_owned(),
            "transitions".to_owned(),
            format!("sequences idx {idx} targets"),
        ];
        assert_eq!(check_grammar(&json).unwrap(), expected);

        let (_, mut json) = files("rng").swap_remove(0);
        json["numpy"]["1"]["random"][5] = 0.5.into();
        json["python"]["42"]["sample_8_6_twice"][11] = 99.into();
        let wrong: Vec<String> = check_rng(&json)
            .unwrap()
            .into_iter()
            .filter(|(_, equal)| !equal)
            .map(|(name, _)| name)
            .collect();
        assert_eq!(wrong, ["numpy/1/random", "python/42/sample_8_6_twice"]);

        let name = "steps-task1-9-6-4-s2.json";
        let (_, mut json) = files("steps").into_iter().find(|(file, _)| file == name).unwrap();
        json["samples"][0]["input"][1][0] = 1.0.into();
        assert_eq!(check_steps(&json).unwrap(), ["idx 0 input"]);

        let (_, mut json) = files("predict").swap_remove(0);
        json["samples"][1]["probs"][0][0] = 0.5.into();
        json["samples"][2]["next"][3] = 4.into();
        assert_eq!(check_predict(&json).unwrap(), ["idx 1 probs", "idx 2 next"]);
    }

    #[test]
    fn broken_goldens_are_errors() {
        let bad_seed = serde_json::json!({"numpy": {"x": {}}});
        let bad_field = serde_json::json!({"numpy": {"1": {"dance": []}}});
        for json in [bad_seed, bad_field] {
            assert!(check_rng(&json).is_err(), "{json}");
        }
        assert!(check_grammar(&serde_json::json!({"vocab": 5})).is_err());
    }
}

//! Weights alone, under the reference implementation's parameter names, in a safetensors file.

use super::stepper::Weights;
use super::target::Target;
use crate::error::{Error, Result, UserError};
use crate::files;
use crate::graph::Graph;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

/// Key of a file's metadata: the run's configuration ([`setup::kept`](super::setup::kept)).
pub const CONFIG_KEY: &str = "config";
/// Key of a file's metadata: the run's grammar, where it is no generated one.
pub const GRAMMAR_KEY: &str = "grammar";
/// Most wrong tensors that a refusal lists.
const LISTED: usize = 20;

/// Writes the parameters as F32, without the optimiser's state. `metadata` goes into the file's header.
///
/// # Errors
/// [`UserError::Malformed`] for a parameter that is not finite, which no import would take; [`Error::Io`].
pub fn export(target: &Target, weights: &Weights, metadata: &BTreeMap<&str, String>) -> Result<()> {
    let broken = |values: &Vec<f32>| values.iter().any(|v| !v.is_finite());
    if let Some((name, ..)) = weights.params.iter().find(|(_, _, values)| broken(values)) {
        let place = "these weights".to_owned();
        let message = format!("{name} is not finite: its training went wrong");
        return Err(UserError::Malformed { place, message }.into());
    }
    // The same weights are the same file: `safetensors::serialize` writes its metadata in an order that changes.
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!(metadata));
    let mut end = 0;
    for (name, shape, values) in &weights.params {
        let start = end;
        end += size_of_val(values.as_slice());
        let info = json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, end] });
        header.insert(name.clone(), info);
    }
    let mut header = Value::from(header).to_string();
    let length = header.len().next_multiple_of(size_of::<u64>());
    header.extend(std::iter::repeat_n(' ', length - header.len()));
    let mut file = Vec::with_capacity(size_of::<u64>() + length + end);
    file.extend((length as u64).to_le_bytes());
    file.extend(header.bytes());
    for (.., values) in &weights.params {
        file.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    }
    target.write(&file)
}

/// Weights of a file that is open, with what its header says of them.
pub struct WeightsFile {
    place: String,
    bytes: Vec<u8>,
    metadata: HashMap<String, String>,
}

impl WeightsFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`UserError::Folder`] if it cannot be read, [`UserError::Malformed`] if it is no safetensors file.
    pub fn read(path: &Path) -> Result<Self> {
        let place = path.display().to_string();
        let malformed = |e: String| UserError::Malformed {
            place: path.display().to_string(),
            message: format!("not a safetensors file: {e}"),
        };
        // Beside the file: the parameters and two moments.
        let bytes = files::read_large(path, 4).map_err(|e| UserError::Folder {
            path: path.to_owned(),
            reason: format!("cannot read these weights: {e}"),
        })?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| malformed(e.to_string()))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        Ok(Self {
            place,
            bytes,
            metadata,
        })
    }

    /// A word of the header.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// The parameters of a graph, in its order, with an optimiser that has seen nothing. F64, F32, F16 and BF16 are
    /// accepted. A prefix of all names, such as `PyTorch`'s `module.` and `_orig_mod.`, is left out, and `say` hears of it.
    ///
    /// # Errors
    /// [`UserError::Malformed`] that lists every tensor that is missing, unknown, or has another shape, another type or
    /// a value that is not finite; one line instead where the file does not describe its model and `hint` says what
    /// to give.
    pub fn weights(&self, graph: &Graph, hint: Option<&str>, say: &mut dyn FnMut(&str)) -> Result<Weights> {
        let malformed = |message: String| -> Error {
            let place = self.place.clone();
            UserError::Malformed { place, message }.into()
        };
        let file = SafeTensors::deserialize(&self.bytes)
            .map_err(|e| malformed(format!("not a safetensors file: {e}")))?;
        let known: HashSet<&str> = graph
            .params()
            .iter()
            .map(|p| graph.tensor(p.tensor).name.as_str())
            .collect();
        let names = file.names();
        let prefix = common_prefix(&names, &known);
        if !prefix.is_empty() {
            say(&format!(
                "{}: every name begins with `{prefix}`, which is left out",
                self.place
            ));
        }
        let mut params = Vec::new();
        let mut wrong = Vec::new();
        for param in graph.params() {
            let info = graph.tensor(param.tensor);
            match tensor(&file, &format!("{prefix}{}", info.name), &info.shape) {
                Ok(values) => params.push((info.name.clone(), info.shape.clone(), values)),
                Err(reason) => wrong.push(format!("{} {reason}", info.name)),
            }
        }
        let is_known = |name: &&str| name.strip_prefix(prefix).is_some_and(|name| known.contains(name));
        let mut unknown: Vec<&str> = names.iter().copied().filter(|name| !is_known(name)).collect();
        unknown.sort_unstable();
        wrong.extend(
            unknown
                .iter()
                .map(|name| format!("{name} is not a parameter of this model")),
        );
        match (wrong.len(), hint) {
            (0, _) => {}
            (n, Some(hint)) => {
                return Err(malformed(format!(
                    "{n} tensors are not those of this model: {hint}"
                )));
            }
            (n, None) => {
                wrong.truncate(LISTED);
                if n > LISTED {
                    wrong.push(format!("and {} more", n - LISTED));
                }
                return Err(malformed(format!(
                    "not the weights of this model:\n  {}",
                    wrong.join("\n  ")
                )));
            }
        }
        let zeros: Vec<Vec<f32>> = params
            .iter()
            .map(|(_, _, values)| vec![0.0; values.len()])
            .collect();
        Ok(Weights {
            params,
            moment1: zeros.clone(),
            moment2: zeros,
        })
    }
}

/// What all names begin with, up to a dot, where the model's own names begin without it.
fn common_prefix<'a>(names: &[&'a str], known: &HashSet<&str>) -> &'a str {
    let Some(first) = names.first() else { return "" };
    let begins = |prefix: &str| names.iter().all(|name| name.starts_with(prefix));
    let fits = |prefix: &str| names.iter().any(|name| known.contains(&name[prefix.len()..]));
    let cuts = first.match_indices('.').map(|(at, _)| &first[..=at]);
    std::iter::once("")
        .chain(cuts)
        .find(|prefix| begins(prefix) && fits(prefix))
        .unwrap_or("")
}

/// A tensor's values, or what is wrong with it.
fn tensor(file: &SafeTensors<'_>, name: &str, shape: &[usize]) -> std::result::Result<Vec<f32>, String> {
    let view = file
        .tensor(name)
        .map_err(|_| format!("is missing; its shape is {shape:?}"))?;
    if view.shape() != shape {
        return Err(format!("has shape {:?}, not {shape:?}", view.shape()));
    }
    let data = view.data();
    let values: Vec<f32> = match view.dtype() {
        Dtype::F64 => convert(data, |b| f64::from_le_bytes(b) as f32),
        Dtype::F32 => convert(data, f32::from_le_bytes),
        Dtype::F16 => convert(data, |b| half::f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => convert(data, |b| half::bf16::from_le_bytes(b).to_f32()),
        other => return Err(format!("is {other:?}: allowed: F64, F32, F16, BF16")),
    };
    match values.iter().position(|v| !v.is_finite()) {
        Some(i) => Err(format!("is not finite in f32 at element {i}")),
        None => Ok(values),
    }
}

fn convert<const N: usize>(data: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    data.as_chunks().0.iter().map(|b| value(*b)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_prefix_is_what_all_names_share_before_the_models_own() {
        let known: HashSet<&str> = ["encoder.weight", "layers.0.a"].into();
        let prefix = |names: &[&str]| common_prefix(names, &known).to_owned();
        assert_eq!(prefix(&["module.encoder.weight", "module.layers.0.a"]), "module.");
        assert_eq!(prefix(&["module._orig_mod.layers.0.a"]), "module._orig_mod.");
        assert_eq!(prefix(&["encoder.weight", "layers.0.a"]), "");
        assert_eq!(prefix(&["module.encoder.weight", "layers.0.a"]), "");
        assert_eq!(prefix(&["a.b", "a.c"]), "");
        assert_eq!(prefix(&[]), "");
    }

    proptest! {
        #[test]
        fn no_file_makes_it_panic(header in "(\\{\"[a-z_.]{0,12}\":\\PC{0,40}\\})?\\PC{0,20}", length in any::<Option<u64>>(), tail in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut bytes = length.unwrap_or(header.len() as u64).to_le_bytes().to_vec();
            bytes.extend(header.as_bytes());
            bytes.extend(tail);
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), bytes).unwrap();
            let _outcome = WeightsFile::read(file.path());
        }
    }
}

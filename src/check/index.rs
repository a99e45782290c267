//! The lists of golden files, `index.json`, with every field that is read.

use super::source::Source;
use crate::error::{Result, UserError};
use crate::models::{EXPAND, HOUSEHOLDER, ROPE_BASE};
use crate::ops::delta_rule::CHUNK;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _, IgnoredAny};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Component, Path};

/// Tolerance where neither entry nor index has one.
const TOLERANCE: f64 = 1e-5;

/// Tolerances by precision.
#[derive(Debug, Clone, Default, Deserialize)]
struct Tolerances {
    /// In words.
    #[serde(default, rename = "rule")]
    _rule: IgnoredAny,
    #[serde(flatten)]
    by_precision: BTreeMap<String, f64>,
}

/// A list of entries of one kind.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Index<E> {
    #[serde(default)]
    tolerance: Tolerances,
    /// One a file.
    pub(super) entries: Vec<E>,
}

/// An op's entry.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct OpEntry {
    /// Op, kind of an op or composite.
    pub(super) name: String,
    /// Which of its cases.
    pub(super) case: String,
    #[serde(deserialize_with = "plain_name")]
    file: String,
    /// Options of the op: an object.
    #[serde(default = "no_attributes", deserialize_with = "object")]
    pub(super) attrs: Value,
    #[serde(default)]
    tolerance: BTreeMap<String, Tolerances>,
}

/// A model's entry.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ModelEntry {
    /// The entry's name; the model's, if the sizes do not say another.
    pub(super) name: String,
    /// Which of its cases.
    pub(super) case: String,
    #[serde(deserialize_with = "plain_name")]
    file: String,
    /// Sizes.
    pub(super) config: ModelSizes,
    /// Trainable values.
    pub(super) n_params: Option<u64>,
    #[serde(default)]
    tolerance: BTreeMap<String, Tolerances>,
}

/// Sizes of a model's entry, each within what a task file may say too.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ModelSizes {
    /// The model, if the entry is not named after it.
    pub(super) model: Option<String>,
    /// Samples.
    #[serde(rename = "B", deserialize_with = "size::<65_536, _>")]
    pub(super) b: usize,
    /// Time steps.
    #[serde(rename = "T", deserialize_with = "size::<65_536, _>")]
    pub(super) t: usize,
    /// Blocks.
    #[serde(deserialize_with = "size::<1024, _>")]
    pub(super) layers: usize,
    /// Width.
    #[serde(deserialize_with = "size::<65_536, _>")]
    pub(super) d_model: usize,
    /// Symbols.
    #[serde(deserialize_with = "size::<65_536, _>")]
    pub(super) vocab: usize,
    /// Classes.
    #[serde(deserialize_with = "size::<65_536, _>")]
    pub(super) outputs: usize,
    /// Heads; as many as the width asks for unless told.
    #[serde(default, deserialize_with = "optional_size::<65_536, _>")]
    pub(super) n_head: Option<usize>,
    /// States of a channel or head.
    #[serde(default, deserialize_with = "optional_size::<256, _>")]
    pub(super) d_state: Option<usize>,
    /// Steps of the delta rule a token.
    #[serde(default = "householder", deserialize_with = "size::<8, _>")]
    pub(super) num_householder: usize,
    /// Tokens of a chunk.
    #[serde(default = "chunk", deserialize_with = "size::<64, _>")]
    pub(super) chunk: usize,
    /// Values so many times as wide as keys.
    #[serde(default = "expand", deserialize_with = "size::<8, _>")]
    pub(super) expand: usize,
    /// Base of the rotary positions.
    #[serde(default = "rope_base")]
    pub(super) rope_base: f32,
}

/// An entry about grammars or random streams.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct GrammarEntry {
    /// The file.
    #[serde(deserialize_with = "plain_name")]
    pub(super) file: String,
    /// `grammar`, `rng` or `steps`.
    pub(super) kind: String,
}

/// What entries of files with tensors have in common.
pub(super) trait WithTensors {
    /// The file's name.
    fn file(&self) -> &str;
    /// Tolerances of tensors by name, instead of the index's.
    fn own(&self, tensor: &str, precision: &str) -> Option<f64>;
}

macro_rules! with_tensors {
    ($($entry:ty),*) => {$(
        impl WithTensors for $entry {
            fn file(&self) -> &str {
                &self.file
            }

            fn own(&self, tensor: &str, precision: &str) -> Option<f64> {
                self.tolerance.get(tensor)?.by_precision.get(precision).copied()
            }
        }
    )*};
}

with_tensors!(OpEntry, ModelEntry);

impl<E: DeserializeOwned> Index<E> {
    /// `FOLDER/index.json`.
    ///
    /// # Errors
    /// [`UserError::Malformed`] if it is not there, has no entries, or a field is missing or has another type or value.
    pub(super) fn read(source: &Source, folder: &str) -> Result<Self> {
        let name = format!("{folder}/index.json");
        let index: Self = source.json(&name)?;
        if index.entries.is_empty() {
            let (place, message) = (
                source.place(&name),
                "`entries` is empty: nothing would be checked".to_owned(),
            );
            return Err(UserError::Malformed { place, message }.into());
        }
        Ok(index)
    }
}

impl<E: WithTensors> Index<E> {
    /// What a tensor of an entry may be off by.
    pub(super) fn allowed(&self, entry: &E, tensor: &str, precision: &str) -> f64 {
        let general = || self.tolerance.by_precision.get(precision).copied();
        entry.own(tensor, precision).or_else(general).unwrap_or(TOLERANCE)
    }
}

fn no_attributes() -> Value {
    Value::Object(serde_json::Map::new())
}

fn householder() -> usize {
    HOUSEHOLDER
}

fn chunk() -> usize {
    CHUNK
}

fn expand() -> usize {
    EXPAND
}

fn rope_base() -> f32 {
    ROPE_BASE
}

fn object<'de, D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Value, D::Error> {
    serde_json::Map::deserialize(from).map(Value::Object)
}

/// The name of a file that lies beside the index or below it.
fn plain_name<'de, D: serde::Deserializer<'de>>(from: D) -> std::result::Result<String, D::Error> {
    let name = String::deserialize(from)?;
    let inside = Path::new(&name)
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    match inside && !name.is_empty() {
        true => Ok(name),
        false => Err(D::Error::custom(format!(
            "file = {name:?}: allowed: a file below the index's folder"
        ))),
    }
}

fn size<'de, const MOST: usize, D: serde::Deserializer<'de>>(
    from: D,
) -> std::result::Result<usize, D::Error> {
    let value = u64::deserialize(from)?;
    match usize::try_from(value) {
        Ok(size) if (1..=MOST).contains(&size) => Ok(size),
        _ => Err(D::Error::custom(format!(
            "a size of {value}: allowed: 1 to {MOST}"
        ))),
    }
}

fn optional_size<'de, const MOST: usize, D: serde::Deserializer<'de>>(
    from: D,
) -> std::result::Result<Option<usize>, D::Error> {
    size::<MOST, D>(from).map(Some)
}

//! A golden file's entry, as the ops see it.

use crate::graph::Graph;
use crate::tensor::TensorId;
use serde_json::Value;
use std::collections::BTreeMap;

/// An entry of `ops/index.json` while its graph is being built.
pub struct Golden<'a> {
    /// The entry's name, such as `gated_delta_rule`.
    pub name: &'a str,
    /// Its `attrs`.
    pub attrs: &'a Value,
    /// Where the op goes.
    pub graph: &'a mut Graph,
    /// The `input/...` tensors, by name, with their shapes. A mask is already part of `labels`, a `gap_mask` has become
    /// `windows` and `window_labels`.
    pub inputs: &'a BTreeMap<String, (TensorId, Vec<usize>)>,
}

impl Golden<'_> {
    /// The tensor of an input.
    ///
    /// # Panics
    /// If the file lacks it.
    pub fn input(&self, name: &str) -> TensorId {
        self.inputs[name].0
    }

    /// Whether the file has an input.
    pub fn has(&self, name: &str) -> bool {
        self.inputs.contains_key(name)
    }

    /// Shape of an input.
    pub fn shape(&self, name: &str) -> &[usize] {
        &self.inputs[name].1
    }

    /// A numeric attribute.
    pub fn attr(&self, name: &str) -> Option<f64> {
        self.attrs.get(name).and_then(Value::as_f64)
    }
}

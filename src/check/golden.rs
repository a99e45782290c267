//! Golden files: ops against numbers that were computed elsewhere.

use crate::graph::Graph;
use crate::tensor::TensorId;
use std::collections::BTreeMap;

/// An entry of `ops/index.json` while its graph is being built.
pub struct Golden<'a> {
    /// The entry's name, such as `gated_delta_rule`.
    pub name: &'a str,
    /// Its `attrs`.
    pub attrs: &'a serde_json::Value,
    /// Where the op goes.
    pub graph: &'a mut Graph,
    /// The `input/...` tensors, by name, with their shapes.
    pub inputs: &'a BTreeMap<String, (TensorId, Vec<usize>)>,
}

impl Golden<'_> {
    /// The tensor of an input.
    ///
    /// # Panics
    /// If the file lacks it: the index is checked before.
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
        self.attrs.get(name).and_then(serde_json::Value::as_f64)
    }
}

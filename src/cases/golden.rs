//! A golden file's entry, as the ops see it.

use crate::error::{Error, Result, UserError};
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
    /// # Errors
    /// [`UserError::Malformed`] if the file lacks it.
    pub fn input(&self, name: &str) -> Result<TensorId> {
        self.found(name).map(|(id, _)| *id)
    }

    /// The tensors of some inputs.
    ///
    /// # Errors
    /// [`UserError::Malformed`] if the file lacks one.
    pub fn inputs(&self, names: &[&str]) -> Result<Vec<TensorId>> {
        names.iter().map(|name| self.input(name)).collect()
    }

    /// Whether the file has an input.
    pub fn has(&self, name: &str) -> bool {
        self.inputs.contains_key(name)
    }

    /// Extents of an input with N dimensions.
    ///
    /// # Errors
    /// [`UserError::Malformed`] if the file lacks it or it has others.
    pub fn sizes<const N: usize>(&self, name: &str) -> Result<[usize; N]> {
        let (_, shape) = self.found(name)?;
        let message = || format!("has shape {shape:?}: {N} dimensions are needed");
        shape
            .as_slice()
            .try_into()
            .map_err(|_| self.malformed(name, message()))
    }

    /// Rows and width of an input of any number of dimensions.
    ///
    /// # Errors
    /// [`UserError::Malformed`] if the file lacks it or it has none.
    pub fn rows(&self, name: &str) -> Result<[usize; 2]> {
        let (_, shape) = self.found(name)?;
        match shape.split_last() {
            Some((width, rows)) => Ok([rows.iter().product(), *width]),
            None => Err(self.malformed(name, "has no dimensions".to_owned())),
        }
    }

    /// A numeric attribute.
    pub fn attr(&self, name: &str) -> Option<f64> {
        self.attrs.get(name).and_then(Value::as_f64)
    }

    /// A numeric attribute without which the entry says nothing.
    ///
    /// # Errors
    /// [`UserError::Malformed`] if the entry lacks it.
    pub fn needs(&self, name: &str) -> Result<f64> {
        let message = || "is missing among the attributes".to_owned();
        self.attr(name).ok_or_else(|| self.malformed(name, message()))
    }

    /// What scores or outputs are scaled by: the attribute, else d^-1/2.
    pub fn scale(&self, d: usize) -> f32 {
        self.attr("scale").unwrap_or((d as f64).powf(-0.5)) as f32
    }

    /// Refuses an attribute with another value than the one that the op has.
    ///
    /// # Errors
    /// [`UserError::Value`].
    pub fn only(&self, name: &str, value: f64) -> Result<()> {
        match self.attr(name) {
            Some(found) if found != value => Err(UserError::Value {
                place: self.name.to_owned(),
                field: name.to_owned(),
                found: found.to_string(),
                allowed: value.to_string(),
            }
            .into()),
            _ => Ok(()),
        }
    }

    fn found(&self, name: &str) -> Result<&(TensorId, Vec<usize>)> {
        let message = || "is missing among the inputs".to_owned();
        self.inputs
            .get(name)
            .ok_or_else(|| self.malformed(name, message()))
    }

    fn malformed(&self, what: &str, message: String) -> Error {
        UserError::Malformed {
            place: format!("{} {what}", self.name),
            message,
        }
        .into()
    }
}

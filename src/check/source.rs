//! Where golden files come from: a folder, or the binary itself.

use crate::error::{Error, Result, UserError};
use crate::files;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

mod embedded {
    include!(concat!(env!("OUT_DIR"), "/fixtures.rs"));
}

/// Largest JSON file that is read.
const MOST_JSON_BYTES: u64 = 16 << 20;

/// Largest extent of a tensor.
const MOST_EXTENT: usize = (1 << 31) - 1;

/// A set of golden files.
#[derive(Debug, Clone)]
pub enum Source {
    /// The project's own, embedded when the crate was built.
    BuiltIn,
    /// A folder with `ops`, `models` and `grammars` in it.
    Folder(PathBuf),
}

/// A tensor of a safetensors file.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Extents.
    pub shape: Vec<usize>,
    /// Stored as integers.
    pub integer: bool,
    /// Elements, widened.
    pub values: Vec<f64>,
}

/// The tensors of a file by name.
#[derive(Debug, Clone, Default)]
pub struct Tensors(BTreeMap<String, Tensor>);

impl Tensors {
    /// One of them.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Tensor> {
        self.0.get_mut(name)
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<Tensor> {
        self.0.remove(name)
    }

    pub(super) fn insert_index(&mut self, name: &str, shape: Vec<usize>, values: Vec<f64>) {
        self.0.insert(
            name.to_owned(),
            Tensor {
                shape,
                integer: true,
                values,
            },
        );
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Tensor)> {
        self.0.iter()
    }
}

impl Source {
    pub(super) fn place(&self, name: &str) -> String {
        match self {
            Self::BuiltIn => format!("built-in fixtures/{name}"),
            Self::Folder(dir) => dir.join(name).display().to_string(),
        }
    }

    fn malformed(&self, name: &str, message: impl ToString) -> Error {
        UserError::Malformed {
            place: self.place(name),
            message: message.to_string(),
        }
        .into()
    }

    /// Whether a file is there.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::BuiltIn => embedded::FIXTURES.iter().any(|(n, _)| *n == name),
            Self::Folder(dir) => dir.join(name).is_file(),
        }
    }

    /// A file's bytes.
    ///
    /// # Errors
    /// [`UserError::Malformed`] if there is no such file.
    pub fn bytes(&self, name: &str) -> Result<Cow<'static, [u8]>> {
        let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        if !Path::new(name).components().all(inside) {
            return Err(self.malformed(name, "lies outside the folder of the golden files"));
        }
        match self {
            Self::BuiltIn => embedded::FIXTURES
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, bytes)| Cow::Borrowed(*bytes))
                .ok_or_else(|| self.malformed(name, "no such file")),
            // Values are widened to f64: from one byte each at worst.
            Self::Folder(dir) => files::read_large(&dir.join(name), 1 + 8)
                .map(Cow::Owned)
                .map_err(|e| self.malformed(name, e)),
        }
    }

    /// A JSON file of at most 16 MiB.
    ///
    /// # Errors
    /// [`UserError::Malformed`] if there is no such file, or it is none of that kind.
    pub fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let bytes = match self {
            Self::BuiltIn => self.bytes(name)?,
            Self::Folder(dir) => files::read_text(&dir.join(name), MOST_JSON_BYTES)
                .map(|text| Cow::Owned(text.into_bytes()))
                .map_err(|e| self.malformed(name, e))?,
        };
        serde_json::from_slice(&bytes).map_err(|e| self.malformed(name, e))
    }

    /// A safetensors file of f32, f64, i32, i64, u32, u8 or bool.
    ///
    /// # Errors
    /// [`UserError::Malformed`] if there is no such file, or it is none of that kind.
    pub fn tensors(&self, name: &str) -> Result<Tensors> {
        let bytes = self.bytes(name)?;
        let file = safetensors::SafeTensors::deserialize(&bytes).map_err(|e| self.malformed(name, e))?;
        let mut tensors = Tensors::default();
        for (tensor, view) in file.iter() {
            if !view
                .shape()
                .iter()
                .all(|extent| (1..=MOST_EXTENT).contains(extent))
            {
                let message = format!(
                    "{tensor} has shape {:?}: allowed: extents of 1 to {MOST_EXTENT}",
                    view.shape()
                );
                return Err(self.malformed(name, message));
            }
            let data = view.data();
            let (integer, values) = match view.dtype() {
                safetensors::Dtype::F32 => (false, widen(data, |b| f64::from(f32::from_le_bytes(b)))),
                safetensors::Dtype::F64 => (false, widen(data, f64::from_le_bytes)),
                safetensors::Dtype::I32 => (true, widen(data, |b| f64::from(i32::from_le_bytes(b)))),
                safetensors::Dtype::U32 => (true, widen(data, |b| f64::from(u32::from_le_bytes(b)))),
                safetensors::Dtype::U8 | safetensors::Dtype::BOOL => (true, widen(data, |[b]| f64::from(b))),
                safetensors::Dtype::I64 => (true, widen(data, |b| i64::from_le_bytes(b) as f64)),
                other => return Err(self.malformed(name, format!("{tensor} has type {other:?}"))),
            };
            tensors.0.insert(
                tensor.to_owned(),
                Tensor {
                    shape: view.shape().to_vec(),
                    integer,
                    values,
                },
            );
        }
        Ok(tensors)
    }
}

fn widen<const N: usize>(data: &[u8], value: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    data.as_chunks().0.iter().map(|b| value(*b)).collect()
}

//! Shader text, the constants that make it a kernel, and what it says about itself.

mod expand;
mod reflection;

pub use reflection::{Binding, Element, Reflection, reflection};

use embedded::SOURCES;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// Shader sources, embedded when the crate is built.
mod embedded {
    include!(concat!(env!("OUT_DIR"), "/shaders.rs"));
}

/// The names of all shader files, without those in `lib/`.
pub fn shader_names() -> impl Iterator<Item = &'static str> {
    SOURCES
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !name.starts_with("lib/"))
}

/// A value that the host writes into a shader.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// `u32`.
    U32(u32),
    /// `bool`.
    Bool(bool),
    /// `f32`.
    F32(f32),
    /// A type's name, for `alias`.
    Type(&'static str),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::U32(v) => write!(f, "{v}u"),
            Self::Bool(v) => write!(f, "{v}"),
            Self::F32(v) => write!(f, "f32({v:?})"),
            Self::Type(v) => f.write_str(v),
        }
    }
}

impl From<usize> for Value {
    fn from(v: usize) -> Self {
        Self::U32(u32::try_from(v).expect("shader constants are small"))
    }
}

impl From<bool> for Value {
    fn from(v: bool) -> Self {
        Self::Bool(v)
    }
}

impl From<f32> for Value {
    fn from(v: f32) -> Self {
        Self::F32(v)
    }
}

/// A shader with the constants that make it one kernel.
#[derive(Debug, Clone, PartialEq)]
pub struct Kernel {
    /// Path under `shaders/`, without the extension; its last part is the entry point.
    pub path: &'static str,
    /// Replaced constants.
    pub consts: BTreeMap<String, Value>,
}

impl Kernel {
    /// A kernel as its file has it.
    pub fn new(path: &'static str) -> Self {
        Self {
            path,
            consts: BTreeMap::new(),
        }
    }

    /// Replaces a constant.
    pub fn set(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.consts.insert(name.to_owned(), value.into());
        self
    }

    /// Whether a constant has been replaced.
    pub fn sets(&self, name: &str) -> bool {
        self.consts.contains_key(name)
    }

    /// Whether its file, or one that it imports, has a constant of this name.
    pub fn declares(&self, name: &str) -> bool {
        fn search(path: &str, start: &str) -> bool {
            let text = SOURCES
                .iter()
                .find(|(name, _)| *name == path)
                .map_or("", |(_, text)| text);
            text.lines().any(|line| {
                let import = line.strip_prefix("#import ");
                line.starts_with(start) || import.is_some_and(|path| search(path.trim(), start))
            })
        }
        search(self.path, &format!("const {name}:"))
    }

    /// Names the kernel uniquely.
    pub fn key(&self) -> String {
        let mut key = self.path.to_owned();
        for (name, value) in &self.consts {
            write!(key, " {name}={value}").expect("writing to a string");
        }
        key
    }

    /// The entry point's name: the file's.
    pub fn entry(&self) -> &'static str {
        self.path
            .rsplit('/')
            .next()
            .expect("rsplit gives at least one part")
    }

    /// The WGSL text.
    ///
    /// # Errors
    /// [`ShaderError`] with file and line: an unknown name, condition or import.
    pub fn expand(&self) -> Result<String, ShaderError> {
        expand::expand(self)
    }
}

/// A mistake in a shader file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}.wgsl:{line}: {message}")]
pub struct ShaderError {
    /// Path under `shaders/`.
    pub file: String,
    /// Line, from 1; 0: the whole file.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_of_imports_are_declared() {
        let declares = |path, name| Kernel::new(path).declares(name);
        assert!(declares("delta_rule/state_fwd", "COOP") && declares("delta_rule/state_fwd", "CHUNK"));
        assert!(!declares("fill/fill_fwd", "COOP") && !declares("delta_rule/state_fwd", "CHUN"));
    }
}

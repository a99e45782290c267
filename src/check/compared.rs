//! A tensor of a golden file beside what came out.

use crate::error::{Error, Result, UserError};

pub(super) fn malformed(place: &str, message: &str) -> Error {
    UserError::Malformed {
        place: place.to_owned(),
        message: message.to_owned(),
    }
    .into()
}

/// Refuses a tensor with another number of elements than what it is for.
pub(super) fn same_length(name: &str, found: usize, needed: usize) -> Result<()> {
    if found == needed {
        return Ok(());
    }
    Err(malformed(
        name,
        &format!("has {found} elements, {needed} are needed"),
    ))
}

/// A tensor of a golden file and what came out instead.
pub(super) struct Compared {
    pub(super) name: String,
    pub(super) got: Vec<f64>,
    pub(super) want: Vec<f64>,
}

impl Compared {
    /// Refuses a tensor of the file that has another number of elements.
    pub(super) fn new(name: String, got: Vec<f64>, want: Vec<f64>) -> Result<Self> {
        same_length(&name, want.len(), got.len())?;
        Ok(Self { name, got, want })
    }
}

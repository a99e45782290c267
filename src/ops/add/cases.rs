//! The op has no gradients of its own: the tests of every op with several readers run it.

use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::tensor::TensorId;

/// None: see the module docs.
pub fn cases() -> Vec<Case> {
    Vec::new()
}

/// No golden file.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}

//! Hostile shapes and values of the op, for its tests and for `check`.

use super::OneHot;
use crate::cases::Fill;
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::tensor::TensorId;

/// Vocabularies around a workgroup's width, and rows without a symbol.
pub fn cases() -> Vec<Case> {
    [(1, 1), (3, 41), (100, 53), (700, 9)]
        .into_iter()
        .map(|(rows, vocab)| {
            let mut symbols = Fill::new(1).below(rows, vocab as u32);
            symbols.iter_mut().skip(1).step_by(2).for_each(|s| *s = u32::MAX);
            Case::new(
                format!("rows{rows} V{vocab}"),
                OneHot { rows, vocab },
                vec![symbols.into()],
            )
        })
        .collect()
}

/// The grammar fixtures hold it.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}

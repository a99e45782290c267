//! Hostile shapes and values of the op, for its tests and for `check`.

use super::LogSigmoid;
use crate::check::random::Fill;
use crate::check::{Case, Golden};
use crate::error::Result;
use crate::tensor::TensorId;

/// Sizes around the workgroup, both tails, and arguments where the logistic saturates.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (numel, scale) in [(1, 1.0), (255, 0.0625), (257, 1.0), (70_000, 0.0625)] {
        let x = Fill::new(numel as u64).uniform(numel, -6.0, 6.0);
        let op = LogSigmoid { numel, scale };
        cases.push(Case::new(format!("n{numel}"), op, vec![x.into()]));
    }
    for (name, lo, hi) in [("upper tail", 5.0, 12.0), ("lower tail", -90.0, -20.0)] {
        let x = Fill::new(3).uniform(300, lo, hi);
        let op = LogSigmoid {
            numel: 300,
            scale: 1.0,
        };
        cases.push(Case::new(name, op, vec![x.into()]));
    }
    let x = vec![-1e4, -90.0, -20.0, 0.0, 20.0, 90.0, 1e4];
    let op = LogSigmoid {
        numel: 7,
        scale: 0.0625,
    };
    cases.push(Case::new("saturated", op, vec![x.into()]));
    cases
}

/// The model fixtures hold it.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}

//! Hostile shapes and values of the op, for its tests and for `check`.

use super::Softplus;
use crate::check::random::Fill;
use crate::check::{Case, Golden};
use crate::error::Result;
use crate::tensor::TensorId;

/// Sizes around the workgroup, the lower tail, and arguments where the exponential overflows.
pub fn cases() -> Vec<Case> {
    let case = |name: &str, offset: f32, x: Vec<f32>| {
        let op = Softplus {
            numel: x.len(),
            offset,
        };
        Case::new(name, op, vec![x.into()])
    };
    let mut cases: Vec<Case> = [1, 255, 257]
        .into_iter()
        .map(|n| case(&format!("n{n}"), 0.25, Fill::new(n as u64).uniform(n, -6.0, 6.0)))
        .collect();
    cases.push(case("lower tail", 0.0, Fill::new(3).uniform(300, -30.0, -5.0)));
    cases.push(case("saturated", 0.25, vec![-1e4, -90.0, -20.0, 0.0, 20.0, 90.0, 1e4]));
    cases
}

/// The model fixtures hold it.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}

//! Proof that ops and models are right on the device at hand: goldens, and every kernel against the f64 twin.

pub mod case;
mod golden;
pub mod random;

pub use case::{Case, Values};
pub use golden::Golden;

use crate::error::Result;
use crate::runtime::Runtime;

/// Relative error (norm) allowed for f32 on any device, forward and gradients (design: sums over at most a few
/// thousand terms give 1e-7 to 3e-6).
pub const TOLERANCE_F32: f64 = 1e-5;

/// Root mean square below which a reference counts as this large.
pub const FLOOR: f64 = 1e-6;

/// One tensor's error against a reference.
#[derive(Debug, Clone, PartialEq)]
pub struct Deviation {
    /// `o`, `d q`, ...
    pub tensor: String,
    /// norm(err) / (norm(ref) + floor sqrt(n)); NaN if anything is not finite.
    pub error: f64,
    /// What is allowed.
    pub allowed: f64,
    /// Element with the largest difference, its value and what it should be.
    pub worst: (usize, f64, f64),
}

impl Deviation {
    /// Compares a tensor with its reference; `floor` keeps references near zero from asking for the impossible.
    pub fn new(tensor: &str, got: &[f64], want: &[f64], floor: f64, allowed: f64) -> Self {
        assert_eq!(got.len(), want.len(), "{tensor}: lengths differ");
        let (mut err, mut norm, mut worst) = (0.0f64, 0.0f64, (0, 0.0, 0.0));
        let mut largest = -1.0f64;
        for (i, (g, w)) in got.iter().zip(want).enumerate() {
            let d = (g - w).abs();
            err += d * d;
            norm += w * w;
            if d > largest || d.is_nan() && !largest.is_nan() {
                largest = d;
                worst = (i, *g, *w);
            }
        }
        let error = err.sqrt() / (norm.sqrt() + floor * (want.len() as f64).sqrt());
        Self {
            tensor: tensor.to_owned(),
            error,
            allowed,
            worst,
        }
    }

    /// Within what is allowed. NaN is not.
    pub fn passed(&self) -> bool {
        self.error <= self.allowed
    }
}

/// Runs a case on a device and compares every output and gradient with the reference values of the same case.
pub fn compare(
    case: &Case,
    runtime: &mut dyn Runtime,
    reference: &[(String, Vec<f64>)],
) -> Result<Vec<Deviation>> {
    let got = case.run(runtime)?;
    Ok(got
        .iter()
        .zip(reference)
        .map(|((name, got), (_, want))| Deviation::new(name, got, want, FLOOR, case.allowed(name)))
        .collect())
}

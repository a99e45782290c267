//! Proof that ops and models are right on the device at hand: goldens, and every kernel against the f64 twin.

pub mod case;
mod composite;
mod entry;
pub mod golden;
mod grammars;
mod kernels;
mod optimiser;
pub mod random;
pub mod source;
#[cfg(test)]
mod tests;
mod training;

pub use case::{Case, Values};
pub use entry::Golden;
pub use golden::Precision;
pub use grammars::grammars;
pub use kernels::kernels;
pub use source::Source;
#[cfg(test)]
pub(crate) use training::switched;
pub use training::training;

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
    /// norm(err) / (norm(ref) + floor); NaN if anything is not finite.
    pub error: f64,
    /// What is allowed.
    pub allowed: f64,
    /// Element with the largest difference, its value and what it should be.
    pub worst: (usize, f64, f64),
}

impl Deviation {
    /// Compares a tensor with its reference; `floor` is a norm that keeps references near zero from asking for the
    /// impossible.
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
        let error = err.sqrt() / (norm.sqrt() + floor);
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

/// Tensors by name.
pub type Named = Vec<(String, Vec<f64>)>;

/// Compares values of a case with those of the f64 twin.
pub fn compare(case: &Case, got: &Named, oracle: &Named) -> Vec<Deviation> {
    got.iter()
        .zip(oracle)
        .map(|((name, got), (_, want))| {
            Deviation::new(
                name,
                got,
                want,
                FLOOR * (want.len() as f64).sqrt(),
                case.allowed(name),
            )
        })
        .collect()
}

/// What became of one check.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Entry or case, such as `delta_rule aligned`.
    pub name: String,
    /// Device and variant.
    pub device: String,
    /// What was compared, or why it was skipped.
    pub result: Result<Vec<Deviation>, String>,
}

impl Outcome {
    fn new(name: &str, device: &str, deviations: Vec<Deviation>) -> Self {
        Self {
            name: name.to_owned(),
            device: device.to_owned(),
            result: Ok(deviations),
        }
    }

    fn skipped(name: &str, device: &str, reason: &str) -> Self {
        Self {
            name: name.to_owned(),
            device: device.to_owned(),
            result: Err(reason.to_owned()),
        }
    }

    /// The tensor that is worst against what is allowed.
    pub fn worst(&self) -> Option<&Deviation> {
        let ratio = |d: &Deviation| {
            if d.error.is_nan() {
                f64::INFINITY
            } else {
                d.error / d.allowed
            }
        };
        self.result
            .as_ref()
            .ok()?
            .iter()
            .max_by(|a, b| ratio(a).total_cmp(&ratio(b)))
    }

    /// Whether all tensors are within what is allowed; skipped ones are not.
    pub fn passed(&self) -> bool {
        self.result
            .as_ref()
            .is_ok_and(|d| d.iter().all(Deviation::passed))
    }
}

//! Errors against a reference, and how large they may be.

/// Relative error (norm) allowed for f32 on any device, forward and gradients (design: sums over at most a few
/// thousand terms give 1e-7 to 3e-6).
pub const TOLERANCE_F32: f64 = 1e-5;

/// As [`TOLERANCE_F32`], with activations and their gradients stored in f16: eleven bits of each value, 2^-12 of it.
pub const TOLERANCE_MIXED: f64 = 5e-3;

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

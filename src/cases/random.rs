//! Data for checks: the same numbers on every machine.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A stream of test data.
pub struct Fill(ChaCha8Rng);

impl Fill {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Uniform on [lo, hi).
    pub fn uniform(&mut self, n: usize, lo: f32, hi: f32) -> Vec<f32> {
        (0..n).map(|_| lo + (hi - lo) * self.0.random::<f32>()).collect()
    }

    /// Roughly normal with unit variance: a sum of twelve uniforms.
    pub fn normal(&mut self, n: usize) -> Vec<f32> {
        (0..n)
            .map(|_| (0..12).map(|_| self.0.random::<f32>()).sum::<f32>() - 6.0)
            .collect()
    }

    /// Rows of `d` normal values, each of unit length.
    pub fn unit_rows(&mut self, rows: usize, d: usize) -> Vec<f32> {
        let mut x = self.normal(rows * d);
        for row in x.chunks_mut(d) {
            let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt();
            row.iter_mut().for_each(|v| *v /= norm);
        }
        x
    }

    /// Integers below `bound`.
    pub fn below(&mut self, n: usize, bound: u32) -> Vec<u32> {
        (0..n).map(|_| self.0.random_range(0..bound)).collect()
    }
}

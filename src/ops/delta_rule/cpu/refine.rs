//! Chunks whose keys are nearly the same: the system (I + beta G) x = b is ill-conditioned there, with beta near 2 above
//! all. One step of iterative refinement with the residual in f64 takes back what rounding did to G and to its inverse.

use super::{COLUMNS, ChunkRows, Inputs, Work};
use crate::ops::chunks::{product, whole_lanes};
use crate::ops::delta_rule::DeltaRule;
use crate::twin::matmul::Mat;
use crate::twin::{Real, vectorize};

/// Sum of magnitudes of a row of beta G above which a chunk is refined. Keys that point anywhere stay below.
const STIFF: f64 = 16.0;

/// The system of a chunk in f64, if it is refined.
pub(super) struct Stiff<R> {
    is_stiff: bool,
    /// `[C,C]`: beta G, below the diagonal.
    system: Vec<f64>,
    /// `[C,d_v]`: residual, and the step that it asks for.
    residual: Vec<R>,
    step: Vec<R>,
    /// `[C,d_v]`: the residual before it is rounded.
    wide: Vec<f64>,
    /// `[d_k,C]`: keys.
    keys: Vec<f64>,
    /// `[C]`: their products with one of them.
    dots: Vec<f64>,
}

impl<R: Real> Stiff<R> {
    pub(super) fn new(op: &DeltaRule) -> Self {
        let (c, values) = (op.chunk, op.chunk * op.d_v);
        Self {
            is_stiff: false,
            system: vec![0.0; c * c],
            residual: vec![R::ZERO; values],
            step: vec![R::ZERO; values],
            wide: vec![0.0; values],
            keys: vec![0.0; op.d_k * c],
            dots: vec![0.0; c],
        }
    }

    /// One step towards the solution of (I + beta G) x = b or, `transposed`, of its transpose, from x = Tm b.
    pub(super) fn refine(
        &mut self,
        op: &DeltaRule,
        n: usize,
        tm: &[R],
        transposed: bool,
        b: &[R],
        x: &mut [R],
    ) {
        if !self.is_stiff {
            return;
        }
        let (c, d_v) = (op.chunk, op.d_v);
        vectorize(
            #[inline(always)]
            || {
                for ((wide, b), x) in self.wide.iter_mut().zip(b).zip(&*x) {
                    *wide = b.f64() - x.f64();
                }
                for (row, wide) in self.wide.chunks_exact_mut(d_v).enumerate().take(n) {
                    let factor = |from: usize| match transposed {
                        true => self.system[from * c + row],
                        false => self.system[row * c + from],
                    };
                    let sources = if transposed { row + 1..n } else { 0..row };
                    let (blocks, rest) = wide.as_chunks_mut::<COLUMNS>();
                    let first = COLUMNS * blocks.len();
                    for (block, wide) in blocks.iter_mut().enumerate() {
                        let mut sum = *wide;
                        for from in sources.clone() {
                            let (factor, x) = (factor(from), &x[from * d_v + COLUMNS * block..][..COLUMNS]);
                            for l in 0..COLUMNS {
                                sum[l] -= factor * x[l].f64();
                            }
                        }
                        *wide = sum;
                    }
                    for from in sources {
                        let (factor, x) = (factor(from), &x[from * d_v + first..]);
                        rest.iter_mut()
                            .zip(x)
                            .for_each(|(wide, x)| *wide -= factor * x.f64());
                    }
                }
                for (residual, wide) in self.residual.iter_mut().zip(&self.wide) {
                    *residual = R::of(*wide);
                }
            },
        );
        let tm = Mat::rows(tm, c);
        let tm = if transposed { tm.t() } else { tm };
        let residual = Mat::rows(&self.residual, d_v);
        product((n, d_v, n), tm, residual, &mut self.step, d_v, R::ZERO);
        let x = x[..n * d_v].iter_mut();
        x.zip(&self.step).for_each(|(x, step)| *x += *step);
    }
}

impl<R: Real> Work<R> {
    /// Looks whether the chunk, which was prepared, is to be refined.
    pub(super) fn look_at_keys(&mut self, op: &DeltaRule, x: Inputs<'_, R>, at: ChunkRows) {
        let (c, n, d_k) = (op.chunk, at.rows.n, op.d_k);
        vectorize(
            #[inline(always)]
            || {
                // What is beyond the diagonal is zero.
                let size = |i: usize| {
                    let mut sums = [0.0; 8];
                    for x in self.lower[i * c..][..whole_lanes(i)].as_chunks::<8>().0 {
                        for l in 0..8 {
                            sums[l] += x[l].f64().abs();
                        }
                    }
                    self.beta[i].f64().abs() * sums.iter().sum::<f64>()
                };
                self.stiff.is_stiff = (0..n).any(|i| size(i) > STIFF);
                if !self.stiff.is_stiff {
                    return;
                }
                let Stiff {
                    keys, dots, system, ..
                } = &mut self.stiff;
                for i in 0..n {
                    for (keys, k) in keys.chunks_exact_mut(c).zip(at.rows.at(x.k, d_k, i)) {
                        keys[i] = k.f64();
                    }
                }
                for i in 0..n {
                    let dots = &mut dots[..whole_lanes(i)];
                    dots.fill(0.0);
                    for (keys, k) in keys.chunks_exact(c).zip(at.rows.at(x.k, d_k, i)) {
                        let k = k.f64();
                        dots.iter_mut()
                            .zip(keys)
                            .for_each(|(dot, other)| *dot += k * *other);
                    }
                    let beta = self.beta[i].f64();
                    let (lower, system) = (&mut self.lower[i * c..][..i], &mut system[i * c..][..i]);
                    let given = dots.iter().zip(&self.gam[i * c..]);
                    for ((lower, system), (dot, gam)) in lower.iter_mut().zip(system).zip(given) {
                        let decayed = *dot * gam.f64();
                        *lower = R::of(decayed);
                        *system = beta * decayed;
                    }
                }
            },
        );
    }
}

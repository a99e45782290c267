use super::CrossEntropy;
use crate::ops::rows::largest;
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices, vectorize};
use rayon::prelude::*;

/// Rows that one thread takes at a time.
const ROWS: usize = 16;

/// Rows whose sums run side by side: one alone waits for each addition.
const SIDE_BY_SIDE: usize = 8;

/// From this size of lse on its own rounding, 2^-24 of it, is more than that of the exponential: probabilities then come from
/// the logits alone.
const LARGE: f64 = 32.0;

/// lse and negative log-likelihood of every row.
pub(crate) fn rows<R: Real>(classes: usize, z: &[R], labels: &[u32], lse: &mut [R], nll: &mut [R]) {
    z.par_chunks(ROWS * classes)
        .zip(lse.par_chunks_mut(ROWS).zip(nll.par_chunks_mut(ROWS)))
        .zip(labels.par_chunks(ROWS))
        .for_each_init(
            || vec![R::ZERO; SIDE_BY_SIDE * classes],
            |exps, ((z, (lse, nll)), labels)| {
                vectorize(
                    #[inline(always)]
                    || {
                        let several = z.chunks(SIDE_BY_SIDE * classes).zip(lse.chunks_mut(SIDE_BY_SIDE));
                        for (z, lse) in several {
                            for ((z, exps), lse) in z
                                .chunks_exact(classes)
                                .zip(exps.chunks_exact_mut(classes))
                                .zip(lse.iter_mut())
                            {
                                *lse = largest(z);
                                for (e, z) in exps.iter_mut().zip(z) {
                                    *e = (*z - *lse).exp();
                                }
                            }
                            let sums = sums_of_rows(exps, classes);
                            for (lse, sum) in lse.iter_mut().zip(sums) {
                                *lse += sum.ln();
                            }
                        }
                        for (r, z) in z.chunks_exact(classes).enumerate() {
                            nll[r] = z.get(labels[r] as usize).map_or(R::ZERO, |z| lse[r] - *z);
                        }
                    },
                );
            },
        );
}

/// The sum of each of [`SIDE_BY_SIDE`] rows.
#[inline(always)]
fn sums_of_rows<R: Real>(x: &[R], columns: usize) -> [R; SIDE_BY_SIDE] {
    let rows: [&[R]; SIDE_BY_SIDE] = std::array::from_fn(|r| &x[r * columns..(r + 1) * columns]);
    let mut sums = [R::ZERO; SIDE_BY_SIDE];
    for c in 0..columns {
        for (sum, row) in sums.iter_mut().zip(rows) {
            *sum += row[c];
        }
    }
    sums
}

/// The sum over all rows, in f64: hundreds of thousands of equal terms lose digits in an f32.
pub(crate) fn total<R: Real>(nll: &[R]) -> f64 {
    nll.iter().map(|loss| loss.f64()).sum()
}

/// Logits to their gradients, in place; `weight` = dloss w.
pub(crate) fn gradient_in_place<R: Real>(classes: usize, z: &mut [R], labels: &[u32], lse: &[R], weight: R) {
    z.par_chunks_mut(ROWS * classes)
        .zip(labels.par_chunks(ROWS).zip(lse.par_chunks(ROWS)))
        .for_each(|(z, (labels, lse))| {
            vectorize(
                #[inline(always)]
                || {
                    for (r, z) in z.chunks_exact_mut(classes).enumerate() {
                        let label = labels[r] as usize;
                        if label >= classes {
                            z.fill(R::ZERO);
                            continue;
                        }
                        let lse = lse[r];
                        if lse.f64().abs() < LARGE {
                            z.iter_mut().for_each(|z| *z = weight * (*z - lse).exp());
                        } else {
                            let max = largest(z);
                            z.iter_mut().for_each(|z| *z = (*z - max).exp());
                            let share = weight / z.iter().copied().sum::<R>();
                            z.iter_mut().for_each(|z| *z *= share);
                        }
                        z[label] -= weight;
                    }
                },
            );
        });
}

impl CpuOp for CrossEntropy {
    fn cpu_fwd<R: Real>(&self, step: &StepParams, mut io: Slices<'_, R>) {
        let (loss, lse, nll) = (io.write("loss"), io.write("lse"), io.write("nll"));
        rows(self.classes, io.read("logits"), io.int("labels"), lse, nll);
        loss[0] = R::of(total(nll) * f64::from(step.inv_tokens));
    }

    fn cpu_bwd<R: Real>(&self, step: &StepParams, mut io: Slices<'_, R>) {
        let weight = io.grad("loss")[0] * R::of(f64::from(step.inv_tokens));
        if let Some((grad_z, _)) = io.wanted("logits") {
            grad_z.copy_from_slice(io.read("logits"));
            gradient_in_place(self.classes, grad_z, io.int("labels"), io.read("lse"), weight);
        }
    }
}

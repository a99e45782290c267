use super::CrossEntropy;
use crate::ops::rows::largest;
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices, vectorize};
use rayon::prelude::*;

/// Rows that one thread takes at a time.
const ROWS: usize = 16;

/// From this size of lse on its own rounding, 2^-24 of it, is more than that of the exponential: probabilities then come from
/// the logits alone.
const LARGE: f64 = 32.0;

/// lse and negative log-likelihood of every row.
pub(crate) fn rows<R: Real>(classes: usize, z: &[R], labels: &[u32], lse: &mut [R], nll: &mut [R]) {
    z.par_chunks(ROWS * classes)
        .zip(lse.par_chunks_mut(ROWS).zip(nll.par_chunks_mut(ROWS)))
        .zip(labels.par_chunks(ROWS))
        .for_each_init(
            || vec![R::ZERO; classes],
            |exps, ((z, (lse, nll)), labels)| {
                vectorize(
                    #[inline(always)]
                    || {
                        for (r, z) in z.chunks_exact(classes).enumerate() {
                            let max = largest(z);
                            for (e, z) in exps.iter_mut().zip(z) {
                                *e = (*z - max).exp();
                            }
                            lse[r] = max + exps.iter().copied().sum::<R>().ln();
                            nll[r] = z.get(labels[r] as usize).map_or(R::ZERO, |z| lse[r] - *z);
                        }
                    },
                );
            },
        );
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

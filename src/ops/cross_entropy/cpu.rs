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
fn rows<R: Real>(classes: usize, z: &[R], labels: &[u32], lse: &mut [R], nll: &mut [R]) {
    z.par_chunks(ROWS * classes)
        .zip(lse.par_chunks_mut(ROWS).zip(nll.par_chunks_mut(ROWS)))
        .zip(labels.par_chunks(ROWS))
        .for_each_init(
            || vec![R::ZERO; ROWS * classes],
            |exps, ((z, (lse, nll)), labels)| {
                let exps = &mut exps[..z.len()];
                exps.copy_from_slice(z);
                exponentials(classes, exps, labels, nll, |r, top, sum| lse[r] = top + sum.ln());
            },
        );
}

/// Logits to e^(z - max) in place, with what makes them probabilities, the reciprocals of their sums; and negative
/// log-likelihoods.
pub(crate) fn shares<R: Real>(classes: usize, z: &mut [R], labels: &[u32], share: &mut [R], nll: &mut [R]) {
    z.par_chunks_mut(ROWS * classes)
        .zip(share.par_chunks_mut(ROWS).zip(nll.par_chunks_mut(ROWS)))
        .zip(labels.par_chunks(ROWS))
        .for_each(|((z, (share, nll)), labels)| {
            exponentials(classes, z, labels, nll, |r, _, sum| share[r] = R::ONE / sum);
        });
}

/// Logits to e^(z - max) in place, and negative log-likelihoods, 0 where there is no label; `each` is told a row's number, maximum
/// and sum.
fn exponentials<R: Real>(
    classes: usize,
    z: &mut [R],
    labels: &[u32],
    nll: &mut [R],
    mut each: impl FnMut(usize, R, R),
) {
    vectorize(
        #[inline(always)]
        || {
            for (group, z) in z.chunks_mut(SIDE_BY_SIDE * classes).enumerate() {
                let first = group * SIDE_BY_SIDE;
                let (mut tops, mut ours) = ([R::ZERO; SIDE_BY_SIDE], [None; SIDE_BY_SIDE]);
                for (r, z) in z.chunks_exact_mut(classes).enumerate() {
                    ours[r] = z.get(labels[first + r] as usize).copied();
                    let top = largest(z);
                    tops[r] = top;
                    for z in z {
                        *z = (*z - top).exp();
                    }
                }
                let rows = z.len() / classes;
                for (r, sum) in sums_of_rows(z, classes).into_iter().enumerate().take(rows) {
                    nll[first + r] = ours[r].map_or(R::ZERO, |z| tops[r] + sum.ln() - z);
                    each(first + r, tops[r], sum);
                }
            }
        },
    );
}

/// The sum of each of at most [`SIDE_BY_SIDE`] rows; of the last one again where there are fewer.
#[inline(always)]
fn sums_of_rows<R: Real>(x: &[R], columns: usize) -> [R; SIDE_BY_SIDE] {
    let last = x.len() / columns - 1;
    let rows: [&[R]; SIDE_BY_SIDE] =
        std::array::from_fn(|r| &x[r.min(last) * columns..(r.min(last) + 1) * columns]);
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

/// What [`shares`] made of logits to their gradients, in place; `weight` = dloss w.
pub(crate) fn gradient_of_shares<R: Real>(
    classes: usize,
    exps: &mut [R],
    labels: &[u32],
    share: &[R],
    weight: R,
) {
    gradient(
        classes,
        exps,
        labels,
        share,
        weight,
        #[inline(always)]
        |exps, share| {
            let factor = weight * share;
            exps.iter_mut().for_each(|e| *e *= factor);
        },
    );
}

/// Logits to their gradients, in place; `weight` = dloss w.
fn gradient_in_place<R: Real>(classes: usize, z: &mut [R], labels: &[u32], lse: &[R], weight: R) {
    gradient(
        classes,
        z,
        labels,
        lse,
        weight,
        #[inline(always)]
        |z, lse| {
            if lse.f64().abs() < LARGE {
                z.iter_mut().for_each(|z| *z = weight * (*z - lse).exp());
            } else {
                let max = largest(z);
                z.iter_mut().for_each(|z| *z = (*z - max).exp());
                let share = weight / z.iter().copied().sum::<R>();
                z.iter_mut().for_each(|z| *z *= share);
            }
        },
    );
}

/// Gradients in the place of rows, which `probabilities` makes probabilities times `weight` by each row's own number.
fn gradient<R: Real>(
    classes: usize,
    z: &mut [R],
    labels: &[u32],
    own: &[R],
    weight: R,
    probabilities: impl Fn(&mut [R], R) + Sync,
) {
    z.par_chunks_mut(ROWS * classes)
        .zip(labels.par_chunks(ROWS).zip(own.par_chunks(ROWS)))
        .for_each(|(z, (labels, own))| {
            vectorize(
                #[inline(always)]
                || {
                    for ((z, label), own) in z.chunks_exact_mut(classes).zip(labels).zip(own) {
                        let label = *label as usize;
                        if label >= classes {
                            z.fill(R::ZERO);
                            continue;
                        }
                        probabilities(z, *own);
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

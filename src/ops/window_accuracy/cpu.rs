use super::WindowAccuracy;
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices, vectorize};
use rayon::prelude::*;

/// Predictions of the windows of whole sequences; `z` and `own` hold `t` rows, and their numbers, for every `e` windows.
/// `probability` is of an element and its row's number.
pub(crate) fn predict<R: Real>(
    op: &WindowAccuracy,
    z: &[R],
    own: &[R],
    windows: &[u32],
    predictions: &mut [u32],
    probability: impl Fn(R, R) -> R + Sync,
) {
    let k = op.classes;
    predictions
        .par_chunks_mut(op.e)
        .zip(windows.par_chunks(2 * op.e))
        .enumerate()
        .for_each_init(
            || vec![R::ZERO; k],
            |sums, (b, (predictions, windows))| {
                for (prediction, window) in predictions.iter_mut().zip(windows.chunks_exact(2)) {
                    sums.fill(R::ZERO);
                    // Whatever the windows say, no step beyond the sequence is read.
                    let first = (window[0] as usize).min(op.t);
                    let len = (window[1] as usize).min(op.t - first);
                    vectorize(
                        #[inline(always)]
                        || {
                            for row in b * op.t + first..b * op.t + first + len {
                                for (sum, z) in sums.iter_mut().zip(&z[row * k..(row + 1) * k]) {
                                    *sum += probability(*z, own[row]);
                                }
                            }
                        },
                    );
                    let mut best = 0;
                    for c in 1..k {
                        if sums[c] > sums[best] {
                            best = c;
                        }
                    }
                    *prediction = best as u32;
                }
            },
        );
}

/// The four counts of the module docs.
pub(crate) fn count(windows: &[u32], labels: &[u32], predictions: &[u32]) -> [usize; 4] {
    let mut counts = [0, 0, 0, labels.len()];
    for (window, (label, prediction)) in windows.chunks_exact(2).zip(labels.iter().zip(predictions)) {
        let right = usize::from(label == prediction);
        counts[2] += right;
        if window[1] > 0 {
            counts[0] += right;
            counts[1] += 1;
        }
    }
    counts
}

impl CpuOp for WindowAccuracy {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (predictions, counts) = (io.write_int("predictions"), io.write("counts"));
        predict(
            self,
            io.read("logits"),
            io.read("lse"),
            io.int("windows"),
            predictions,
            #[inline(always)]
            |z, lse| (z - lse).exp(),
        );
        for (out, n) in counts
            .iter_mut()
            .zip(count(io.int("windows"), io.int("window_labels"), predictions))
        {
            *out = R::of(n as f64);
        }
    }
}

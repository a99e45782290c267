use super::{FACTOR, GROWTH, GradNorm, HALTED, LARGEST_SCALE, NORM, SKIPPED};
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};
use rayon::prelude::*;

/// Elements of one partial sum.
const PART: usize = 4096;

impl CpuOp for GradNorm {
    fn cpu_fwd<R: Real>(&self, step: &StepParams, mut io: Slices<'_, R>) {
        let parts: Vec<R> = io
            .read("g")
            .par_chunks(PART)
            .map(|g| g.iter().map(|v| *v * *v).sum())
            .collect();
        let scaled = parts.into_iter().sum::<R>().sqrt();
        let finite = scaled.is_finite();
        let stats = io.write("stats");
        let mut factor = R::ONE;
        stats[SKIPPED] = R::ZERO;
        if self.scaled {
            let scale = io.write("scale");
            factor = R::ONE / scale[0];
            if finite {
                scale[1] += R::ONE;
                if scale[1] == R::of(f64::from(GROWTH)) {
                    scale[0] = R::of(f64::from(LARGEST_SCALE)).min(scale[0] + scale[0]);
                    scale[1] = R::ZERO;
                }
            } else if scale[0] > R::ONE {
                stats[SKIPPED] = R::ONE;
                scale[0] *= R::of(0.5);
                scale[1] = R::ZERO;
                scale[2] += R::ONE;
            }
        }
        let norm = scaled * factor;
        stats[NORM] = norm;
        stats[FACTOR] = R::ONE.min(R::of(f64::from(step.clip)) / (norm + R::of(1e-6))) * factor;
        if !finite && stats[SKIPPED] == R::ZERO {
            stats[HALTED] = R::ONE;
        }
    }
}

use super::GradNorm;
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
        let norm = parts.into_iter().sum::<R>().sqrt();
        let stats = io.write("stats");
        stats[0] = norm;
        stats[1] = R::ONE.min(R::of(f64::from(step.clip)) / (norm + R::of(1e-6)));
        if !norm.is_finite() {
            stats[2] = R::ONE;
        }
        stats[3] = R::ZERO;
    }
}

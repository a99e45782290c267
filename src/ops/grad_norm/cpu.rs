use super::GradNorm;
use crate::step::StepParams;
use crate::twin::CpuOp;
use crate::twin::{In, Out, Real};
use rayon::prelude::*;

/// Elements of one partial sum.
const PART: usize = 4096;

impl CpuOp for GradNorm {
    fn cpu_fwd<R: Real>(&self, step: &StepParams, ins: &[In<'_, R>], outs: &mut [Out<'_, R>]) {
        let parts: Vec<R> = ins[0]
            .real()
            .par_chunks(PART)
            .map(|g| g.iter().map(|v| *v * *v).sum())
            .collect();
        let norm = parts.into_iter().sum::<R>().sqrt();
        let stats = outs[0].real();
        stats[0] = norm;
        stats[1] = R::ONE.min(R::of(f64::from(step.clip)) / (norm + R::of(1e-6)));
        if !norm.is_finite() {
            stats[2] = R::ONE;
        }
        stats[3] = R::ZERO;
    }

    fn cpu_bwd<R: Real>(
        &self,
        _step: &StepParams,
        _ins: &[In<'_, R>],
        _outs: &[In<'_, R>],
        _d_outs: &[In<'_, R>],
        _d_ins: &mut [Out<'_, R>],
    ) {
        unreachable!("the optimiser has no gradient");
    }
}

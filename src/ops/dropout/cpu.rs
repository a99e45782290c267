use super::Dropout;
use crate::step::StepParams;
use crate::twin::CpuOp;
use crate::twin::{In, Out, Real};
use rayon::prelude::*;

impl Dropout {
    /// `out` = mask `x` / (1 - p) for one row.
    fn drop_row<R: Real>(&self, step: &StepParams, row: usize, x: &[R], out: &mut [R]) {
        if step.dropout_on == 0 || self.threshold() == 0 {
            out.copy_from_slice(x);
            return;
        }
        let scale = R::of(self.scale());
        for (group, (out, x)) in out.chunks_mut(4).zip(x.chunks(4)).enumerate() {
            let keeps = self.keeps(step, row, group);
            for ((out, x), keep) in out.iter_mut().zip(x).zip(keeps) {
                *out = if keep { *x * scale } else { R::ZERO };
            }
        }
    }
}

impl CpuOp for Dropout {
    fn cpu_fwd<R: Real>(&self, step: &StepParams, ins: &[In<'_, R>], outs: &mut [Out<'_, R>]) {
        let (residual, x) = (ins[0].real(), ins[1].real());
        let d = self.d;
        outs[0].real().par_chunks_mut(d).enumerate().for_each(|(row, y)| {
            let at = row * d;
            self.drop_row(step, row, &x[at..at + d], y);
            for (y, residual) in y.iter_mut().zip(&residual[at..at + d]) {
                *y += *residual;
            }
        });
    }

    fn cpu_bwd<R: Real>(
        &self,
        step: &StepParams,
        _ins: &[In<'_, R>],
        _outs: &[In<'_, R>],
        grad_outs: &[In<'_, R>],
        grad_ins: &mut [Out<'_, R>],
    ) {
        let grad_y = grad_outs[0].real();
        let Some((grad_x, _)) = grad_ins[1].wanted() else {
            return;
        };
        let d = self.d;
        grad_x.par_chunks_mut(d).enumerate().for_each(|(row, grad_x)| {
            self.drop_row(step, row, &grad_y[row * d..][..d], grad_x);
        });
    }
}

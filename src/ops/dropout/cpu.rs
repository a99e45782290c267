use super::Dropout;
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices, vectorize};
use rayon::prelude::*;

/// Groups of four columns whose bits are drawn at once.
const GROUPS: usize = 8;

impl Dropout {
    /// `out` = mask `x` / (1 - p) for one row.
    fn drop_row<R: Real>(&self, step: &StepParams, row: usize, x: &[R], out: &mut [R]) {
        if step.dropout_on == 0 || self.threshold() == 0 {
            out.copy_from_slice(x);
            return;
        }
        let scale = R::of(self.scale());
        vectorize(
            #[inline(always)]
            || {
                let blocks = out.chunks_mut(4 * GROUPS).zip(x.chunks(4 * GROUPS));
                for (block, (out, x)) in blocks.enumerate() {
                    let keeps: [_; GROUPS] = self.keeps_of(step, row, GROUPS * block);
                    for ((out, x), keep) in out.iter_mut().zip(x).zip(keeps.as_flattened()) {
                        *out = if *keep { *x * scale } else { R::ZERO };
                    }
                }
            },
        );
    }

    /// `out` = mask `x` / (1 - p).
    pub(crate) fn drop_rows<R: Real>(&self, step: &StepParams, x: &[R], out: &mut [R]) {
        let d = self.d;
        out.par_chunks_mut(d).enumerate().for_each(|(row, out)| {
            self.drop_row(step, row, &x[row * d..][..d], out);
        });
    }

    /// `y` = `residual` + mask `x` / (1 - p).
    pub(crate) fn add_rows<R: Real>(&self, step: &StepParams, residual: &[R], x: &[R], y: &mut [R]) {
        let d = self.d;
        y.par_chunks_mut(d).enumerate().for_each(|(row, y)| {
            let at = row * d;
            self.drop_row(step, row, &x[at..at + d], y);
            for (y, residual) in y.iter_mut().zip(&residual[at..at + d]) {
                *y += *residual;
            }
        });
    }
}

impl CpuOp for Dropout {
    fn cpu_fwd<R: Real>(&self, step: &StepParams, mut io: Slices<'_, R>) {
        let (residual, x) = (io.read("residual"), io.read("x"));
        self.add_rows(step, residual, x, io.write("y"));
    }

    fn cpu_bwd<R: Real>(&self, step: &StepParams, mut io: Slices<'_, R>) {
        let grad_y = io.grad("y");
        if let Some((grad_x, _)) = io.wanted("x") {
            self.drop_rows(step, grad_y, grad_x);
        }
    }
}

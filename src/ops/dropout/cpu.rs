use super::Dropout;
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices, vectorize};
use rayon::prelude::*;

/// Groups of four columns whose bits are drawn at once.
const GROUPS: usize = 8;

impl Dropout {
    /// `out` = mask `x` / (1 - p) for one row.
    pub(crate) fn drop_row<R: Real>(&self, step: &StepParams, row: usize, x: &[R], out: &mut [R]) {
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

    /// `y` = `residual` + mask `x` / (1 - p) for one row.
    pub(crate) fn add_row<R: Real>(
        &self,
        step: &StepParams,
        row: usize,
        [residual, x]: [&[R]; 2],
        y: &mut [R],
    ) {
        self.drop_row(step, row, x, y);
        for (y, residual) in y.iter_mut().zip(residual) {
            *y += *residual;
        }
    }
}

impl CpuOp for Dropout {
    fn cpu_fwd<R: Real>(&self, step: &StepParams, mut io: Slices<'_, R>) {
        let (residual, x) = (io.read("residual"), io.read("x"));
        let d = self.d;
        io.write("y").par_chunks_mut(d).enumerate().for_each(|(row, y)| {
            let from = row * d..(row + 1) * d;
            self.add_row(step, row, [&residual[from.clone()], &x[from]], y);
        });
    }

    fn cpu_bwd<R: Real>(&self, step: &StepParams, mut io: Slices<'_, R>) {
        let grad_y = io.grad("y");
        let Some((grad_x, _)) = io.wanted("x") else {
            return;
        };
        let d = self.d;
        grad_x.par_chunks_mut(d).enumerate().for_each(|(row, grad_x)| {
            self.drop_row(step, row, &grad_y[row * d..][..d], grad_x);
        });
    }
}

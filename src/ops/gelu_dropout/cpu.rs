use super::GeluDropout;
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};
use rayon::prelude::*;

impl GeluDropout {
    /// Each row of `out`, of which `value` makes the numbers before dropout.
    fn rows<R: Real>(&self, step: &StepParams, out: &mut [R], value: impl Fn(usize, &mut [R]) + Sync) {
        let dropout = self.dropout();
        let is_on = step.dropout_on != 0 && self.p > 0.0;
        let scale = R::of(dropout.scale());
        let sequence = self.t * self.d;
        out.par_chunks_mut(sequence).enumerate().for_each(|(b, out)| {
            let mut mask = vec![R::ONE; self.d];
            if is_on {
                for (group, mask) in mask.chunks_mut(4).enumerate() {
                    for (mask, keep) in mask.iter_mut().zip(dropout.keeps(step, b * self.t, group)) {
                        *mask = if keep { scale } else { R::ZERO };
                    }
                }
            }
            out.par_chunks_mut(self.d).enumerate().for_each(|(t, row)| {
                value(b * sequence + t * self.d, row);
                for (x, mask) in row.iter_mut().zip(&mask) {
                    *x *= *mask;
                }
            });
        });
    }
}

impl CpuOp for GeluDropout {
    fn cpu_fwd<R: Real>(&self, step: &StepParams, mut io: Slices<'_, R>) {
        let x = io.read("x");
        self.rows(step, io.write("y"), |at, y| {
            for (y, x) in y.iter_mut().zip(&x[at..]) {
                *y = x.gelu();
            }
        });
    }

    fn cpu_bwd<R: Real>(&self, step: &StepParams, mut io: Slices<'_, R>) {
        let (x, grad_y) = (io.read("x"), io.grad("y"));
        let Some((grad_x, _)) = io.wanted("x") else {
            return;
        };
        self.rows(step, grad_x, |at, grad_x| {
            for ((grad_x, x), grad_y) in grad_x.iter_mut().zip(&x[at..]).zip(&grad_y[at..]) {
                *grad_x = x.gelu_slope() * *grad_y;
            }
        });
    }
}

use super::L2Norm;
use crate::ops::reduce::Pieces;
use crate::ops::rows::dot;
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices, vectorize};
use rayon::prelude::*;

impl L2Norm {
    /// The rows `x` at unit length, and what they were multiplied by.
    pub(crate) fn normalise<R: Real>(&self, x: &[R], y: &mut [R], r: &mut [R]) {
        let eps = R::of(f64::from(self.eps));
        let (d, per) = (self.d, Pieces::new(self.rows).rows);
        let pieces = y.par_chunks_mut(per * d).zip(r.par_chunks_mut(per));
        pieces.zip(x.par_chunks(per * d)).for_each(|((y, r), x)| {
            vectorize(
                #[inline(always)]
                || {
                    for ((y, r), x) in y.chunks_exact_mut(d).zip(r).zip(x.chunks_exact(d)) {
                        *r = R::ONE / (dot(x, x) + eps).sqrt();
                        y.iter_mut().zip(x).for_each(|(y, x)| *y = *x * *r);
                    }
                },
            );
        });
    }

    /// The gradient of the rows from that of those at unit length.
    pub(crate) fn normalise_bwd<R: Real>(&self, y: &[R], r: &[R], grad_y: &[R], grad_x: &mut [R]) {
        let (d, per) = (self.d, Pieces::new(self.rows).rows);
        grad_x
            .par_chunks_mut(per * d)
            .enumerate()
            .for_each(|(piece, grad_x)| {
                vectorize(
                    #[inline(always)]
                    || {
                        for (i, grad_x) in grad_x.chunks_exact_mut(d).enumerate() {
                            let row = piece * per + i;
                            let (y, grad_y) = (&y[row * d..][..d], &grad_y[row * d..][..d]);
                            let (r, along) = (r[row], dot(y, grad_y));
                            for (grad_x, (y, grad_y)) in grad_x.iter_mut().zip(y.iter().zip(grad_y)) {
                                *grad_x = r * (*grad_y - *y * along);
                            }
                        }
                    },
                );
            });
    }
}

impl CpuOp for L2Norm {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let x = io.read("x");
        let (y, r) = (io.write("y"), io.write("r"));
        self.normalise(x, y, r);
    }

    fn cpu_bwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (y, r, grad_y) = (io.read("y"), io.read("r"), io.grad("y"));
        if let Some((grad_x, _)) = io.wanted("x") {
            self.normalise_bwd(y, r, grad_y, grad_x);
        }
    }
}

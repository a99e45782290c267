use super::SwiGlu;
use crate::ops::reduce::{Pieces, add_partials, wanted_or};
use crate::ops::rows::sum;
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices, vectorize};
use rayon::prelude::*;

impl CpuOp for SwiGlu {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (x, beta) = (io.read("x"), io.read("beta")[0]);
        let (d, per) = (self.d, Pieces::new(self.rows).rows);
        let pieces = io.write("y").par_chunks_mut(per * d);
        pieces.zip(x.par_chunks(per * 2 * d)).for_each(|(y, x)| {
            vectorize(
                #[inline(always)]
                || {
                    for (y, x) in y.chunks_exact_mut(d).zip(x.chunks_exact(2 * d)) {
                        let (a, b) = x.split_at(d);
                        for (y, (a, b)) in y.iter_mut().zip(a.iter().zip(b)) {
                            *y = *a * (beta * *a).sigmoid() * *b;
                        }
                    }
                },
            );
        });
    }

    fn cpu_bwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (x, beta, grad_y) = (io.read("x"), io.read("beta")[0], io.grad("y"));
        let d = self.d;
        let pieces = Pieces::new(self.rows);
        let mut grad_beta = pieces.partials(1);
        let mut unread = Vec::new();
        let parts = wanted_or(io.wanted("x"), &mut unread, x.len()).par_chunks_mut(pieces.rows * 2 * d);
        parts
            .zip(&mut grad_beta)
            .enumerate()
            .for_each(|(piece, (grad_x, grad_beta))| {
                let mut terms = vec![R::ZERO; d];
                vectorize(
                    #[inline(always)]
                    || {
                        for (i, grad_x) in grad_x.chunks_exact_mut(2 * d).enumerate() {
                            let row = piece * pieces.rows + i;
                            let (a, b) = x[row * 2 * d..][..2 * d].split_at(d);
                            let (grad_a, grad_b) = grad_x.split_at_mut(d);
                            let grad_y = &grad_y[row * d..][..d];
                            let made = terms.iter_mut().zip(grad_a.iter_mut().zip(grad_b));
                            let given = grad_y.iter().zip(a.iter().zip(b));
                            for ((term, (grad_a, grad_b)), (grad_y, (a, b))) in made.zip(given) {
                                let z = beta * *a;
                                let e = (-z.abs()).exp();
                                let inv = R::ONE / (R::ONE + e);
                                let sg = if z >= R::ZERO { inv } else { e * inv };
                                let sg_slope = e * inv * inv;
                                *grad_a = *grad_y * *b * (sg + z * sg_slope);
                                *grad_b = *grad_y * *a * sg;
                                *term = *grad_y * *b * *a * (*a * sg_slope);
                            }
                            *grad_beta += sum(&terms);
                        }
                    },
                );
            });
        if let Some(sum) = io.sum("beta") {
            add_partials(sum, &grad_beta);
        }
    }
}

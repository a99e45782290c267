use super::Glu;
use crate::ops::reduce::Pieces;
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};
use rayon::prelude::*;

impl CpuOp for Glu {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (x, d, per) = (io.read("x"), self.d, Pieces::new(self.rows).rows);
        let pieces = io.write("y").par_chunks_mut(per * d);
        pieces.zip(x.par_chunks(per * 2 * d)).for_each(|(y, x)| {
            for (y, x) in y.chunks_mut(d).zip(x.chunks(2 * d)) {
                let (a, b) = x.split_at(d);
                for c in 0..d {
                    y[c] = a[c] * b[c].sigmoid();
                }
            }
        });
    }

    fn cpu_bwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (x, grad_y) = (io.read("x"), io.grad("y"));
        let Some((grad_x, _)) = io.wanted("x") else {
            return;
        };
        let (d, per) = (self.d, Pieces::new(self.rows).rows);
        let pieces = grad_x.par_chunks_mut(per * 2 * d);
        let given = x.par_chunks(per * 2 * d).zip(grad_y.par_chunks(per * d));
        pieces.zip(given).for_each(|(grad_x, (x, grad_y))| {
            let rows = x.chunks(2 * d).zip(grad_y.chunks(d));
            for (grad_x, (x, grad_y)) in grad_x.chunks_mut(2 * d).zip(rows) {
                let ((a, b), (grad_a, grad_b)) = (x.split_at(d), grad_x.split_at_mut(d));
                for c in 0..d {
                    let e = (-b[c].abs()).exp();
                    let inv = R::ONE / (R::ONE + e);
                    let gate = if b[c] >= R::ZERO { inv } else { e * inv };
                    grad_a[c] = grad_y[c] * gate;
                    grad_b[c] = grad_y[c] * a[c] * (e * inv * inv);
                }
            }
        });
    }
}

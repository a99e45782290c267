use super::Skip;
use crate::ops::reduce::{Pieces, add_partials, wanted_or};
use crate::ops::rows::dot;
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};
use rayon::prelude::*;

impl CpuOp for Skip {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (o, x, d) = (io.read("o"), io.read("x"), io.read("D"));
        let (h, p) = (self.h, self.p);
        let per = Pieces::new(self.rows).rows * h * p;
        let pieces = io.write("y").par_chunks_mut(per);
        pieces
            .zip(o.par_chunks(per).zip(x.par_chunks(per)))
            .for_each(|(y, (o, x))| {
                for (i, ((y, o), x)) in y.chunks_mut(p).zip(o.chunks(p)).zip(x.chunks(p)).enumerate() {
                    let d = d[i % h];
                    for ((y, o), x) in y.iter_mut().zip(o).zip(x) {
                        *y = *o + d * *x;
                    }
                }
            });
    }

    fn cpu_bwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (x, d, grad_y) = (io.read("x"), io.read("D"), io.grad("y"));
        let (h, p, pieces) = (self.h, self.p, Pieces::new(self.rows));
        let mut grad_d = pieces.partials(h);
        let mut unread = Vec::new();
        let wanted_x = io.wanted("x");
        let accumulate = wanted_x.as_ref().is_some_and(|(_, add)| *add);
        let per = pieces.rows * h;
        let parts = wanted_or(wanted_x, &mut unread, x.len()).par_chunks_mut(per * p);
        let parts = parts.zip(grad_d.par_chunks_mut(h));
        parts.enumerate().for_each(|(piece, (grad_x, grad_d))| {
            for (i, grad_x) in grad_x.chunks_mut(p).enumerate() {
                let (at, head) = ((piece * per + i) * p, i % h);
                let grad_y = &grad_y[at..at + p];
                for (grad_x, grad_y) in grad_x.iter_mut().zip(grad_y) {
                    let before = if accumulate { *grad_x } else { R::ZERO };
                    *grad_x = before + d[head] * *grad_y;
                }
                grad_d[head] += dot(grad_y, &x[at..at + p]);
            }
        });
        if let Some(sum) = io.sum("D") {
            add_partials(sum, &grad_d);
        }
    }
}

use super::Scale;
use crate::ops::reduce::{Pieces, wanted_or};
use crate::ops::rows::dot;
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};
use rayon::prelude::*;

impl CpuOp for Scale {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (p, per) = (self.p, Pieces::new(self.rows).rows);
        let made = io.write("y").par_chunks_mut(per * p);
        let read = io.read("x").par_chunks(per * p).zip(io.read("s").par_chunks(per));
        made.zip(read).for_each(|(y, (x, s))| {
            for ((y, x), s) in y.chunks_mut(p).zip(x.chunks(p)).zip(s) {
                y.iter_mut().zip(x).for_each(|(y, x)| *y = *s * *x);
            }
        });
    }

    fn cpu_bwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (x, s, grad_y) = (io.read("x"), io.read("s"), io.grad("y"));
        let (p, per) = (self.p, Pieces::new(self.rows).rows);
        let wanted_x = io.wanted("x");
        let accumulate = wanted_x.as_ref().is_some_and(|(_, add)| *add);
        let (mut unread_x, mut unread_s) = (Vec::new(), Vec::new());
        let made = wanted_or(wanted_x, &mut unread_x, x.len()).par_chunks_mut(per * p);
        let made = made.zip(wanted_or(io.wanted("s"), &mut unread_s, s.len()).par_chunks_mut(per));
        made.enumerate().for_each(|(piece, (grad_x, grad_s))| {
            for (i, (grad_x, grad_s)) in grad_x.chunks_mut(p).zip(grad_s).enumerate() {
                let row = piece * per + i;
                let (x, grad_y) = (&x[row * p..][..p], &grad_y[row * p..][..p]);
                for (grad_x, grad_y) in grad_x.iter_mut().zip(grad_y) {
                    let before = if accumulate { *grad_x } else { R::ZERO };
                    *grad_x = before + s[row] * *grad_y;
                }
                *grad_s = dot(grad_y, x);
            }
        });
    }
}

use super::Scale;
use crate::ops::reduce::{Pieces, wanted_or};
use crate::ops::rows::dot;
use crate::step::StepParams;
use crate::twin::CpuOp;
use crate::twin::{In, Out, Real};
use rayon::prelude::*;

impl CpuOp for Scale {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, ins: &[In<'_, R>], outs: &mut [Out<'_, R>]) {
        let (p, per) = (self.p, Pieces::new(self.rows).rows);
        let made = outs[0].real().par_chunks_mut(per * p);
        let read = ins[0]
            .real()
            .par_chunks(per * p)
            .zip(ins[1].real().par_chunks(per));
        made.zip(read).for_each(|(y, (x, s))| {
            for ((y, x), s) in y.chunks_mut(p).zip(x.chunks(p)).zip(s) {
                y.iter_mut().zip(x).for_each(|(y, x)| *y = *s * *x);
            }
        });
    }

    fn cpu_bwd<R: Real>(
        &self,
        _step: &StepParams,
        ins: &[In<'_, R>],
        _outs: &[In<'_, R>],
        d_outs: &[In<'_, R>],
        d_ins: &mut [Out<'_, R>],
    ) {
        let (x, s, dy) = (ins[0].real(), ins[1].real(), d_outs[0].real());
        let [dx, ds] = d_ins else {
            unreachable!("two inputs")
        };
        let (p, per) = (self.p, Pieces::new(self.rows).rows);
        let accumulate = matches!(dx, Out::Real { accumulate: true, .. });
        let (mut unread_x, mut unread_s) = (Vec::new(), Vec::new());
        let made = wanted_or(dx, &mut unread_x, x.len()).par_chunks_mut(per * p);
        let made = made.zip(wanted_or(ds, &mut unread_s, s.len()).par_chunks_mut(per));
        made.enumerate().for_each(|(piece, (dx, ds))| {
            for (i, (dx, ds)) in dx.chunks_mut(p).zip(ds).enumerate() {
                let row = piece * per + i;
                let (x, dy) = (&x[row * p..][..p], &dy[row * p..][..p]);
                for (dx, dy) in dx.iter_mut().zip(dy) {
                    let before = if accumulate { *dx } else { R::ZERO };
                    *dx = before + s[row] * *dy;
                }
                *ds = dot(dy, x);
            }
        });
    }
}

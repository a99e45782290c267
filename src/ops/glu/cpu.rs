use super::Glu;
use crate::ops::reduce::Pieces;
use crate::step::StepParams;
use crate::twin::CpuOp;
use crate::twin::{In, Out, Real};
use rayon::prelude::*;

impl CpuOp for Glu {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, ins: &[In<'_, R>], outs: &mut [Out<'_, R>]) {
        let (x, d, per) = (ins[0].real(), self.d, Pieces::new(self.rows).rows);
        let pieces = outs[0].real().par_chunks_mut(per * d);
        pieces.zip(x.par_chunks(per * 2 * d)).for_each(|(y, x)| {
            for (y, x) in y.chunks_mut(d).zip(x.chunks(2 * d)) {
                let (a, b) = x.split_at(d);
                for c in 0..d {
                    y[c] = a[c] * b[c].sigmoid();
                }
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
        let (x, dy) = (ins[0].real(), d_outs[0].real());
        let Some((dx, _)) = d_ins[0].wanted() else { return };
        let (d, per) = (self.d, Pieces::new(self.rows).rows);
        let pieces = dx.par_chunks_mut(per * 2 * d);
        let given = x.par_chunks(per * 2 * d).zip(dy.par_chunks(per * d));
        pieces.zip(given).for_each(|(dx, (x, dy))| {
            let rows = x.chunks(2 * d).zip(dy.chunks(d));
            for (dx, (x, dy)) in dx.chunks_mut(2 * d).zip(rows) {
                let ((a, b), (da, db)) = (x.split_at(d), dx.split_at_mut(d));
                for c in 0..d {
                    let e = (-b[c].abs()).exp();
                    let inv = R::ONE / (R::ONE + e);
                    let gate = if b[c] >= R::ZERO { inv } else { e * inv };
                    da[c] = dy[c] * gate;
                    db[c] = dy[c] * a[c] * (e * inv * inv);
                }
            }
        });
    }
}

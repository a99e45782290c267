use super::Slice;
use crate::step::StepParams;
use crate::twin::CpuOp;
use crate::twin::{In, Out, Real};
use rayon::prelude::*;

/// Rows of a piece of work.
const ROWS: usize = 256;

impl CpuOp for Slice {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, ins: &[In<'_, R>], outs: &mut [Out<'_, R>]) {
        let y = outs[0].real().par_chunks_mut(ROWS * self.len);
        let pieces = y.zip(ins[0].real().par_chunks(ROWS * self.width));
        pieces.for_each(|(y, x)| {
            for (y, x) in y.chunks_mut(self.len).zip(x.chunks(self.width)) {
                y.copy_from_slice(&x[self.from..][..self.len]);
            }
        });
    }

    fn cpu_bwd<R: Real>(
        &self,
        _step: &StepParams,
        _ins: &[In<'_, R>],
        _outs: &[In<'_, R>],
        d_outs: &[In<'_, R>],
        d_ins: &mut [Out<'_, R>],
    ) {
        let Some((dx, accumulate)) = d_ins[0].wanted() else {
            return;
        };
        let dx = dx.par_chunks_mut(ROWS * self.width);
        let pieces = dx.zip(d_outs[0].real().par_chunks(ROWS * self.len));
        pieces.for_each(|(dx, dy)| {
            for (dx, dy) in dx.chunks_mut(self.width).zip(dy.chunks(self.len)) {
                if !accumulate {
                    dx.fill(R::ZERO);
                }
                for (dx, dy) in dx[self.from..][..self.len].iter_mut().zip(dy) {
                    *dx += *dy;
                }
            }
        });
    }
}

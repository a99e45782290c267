use super::{ConvStep, PAST, WIDTH};
use crate::step::StepParams;
use crate::twin::CpuOp;
use crate::twin::{In, Out, Real};
use rayon::prelude::*;

impl CpuOp for ConvStep {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, ins: &[In<'_, R>], outs: &mut [Out<'_, R>]) {
        let (x, w) = (ins[0].real(), ins[1].real());
        let bias = self.bias.then(|| ins[2].real());
        let [y, state] = outs else {
            unreachable!("the ports say two outputs")
        };
        let n = self.channels;
        let rows = y
            .real()
            .par_chunks_mut(n)
            .zip(state.real().par_chunks_mut(n * PAST));
        rows.zip(x.par_chunks(n)).for_each(|((y, state), x)| {
            match bias {
                Some(b) => y.copy_from_slice(b),
                None => y.fill(R::ZERO),
            }
            let channels = state.chunks_mut(PAST).zip(w.chunks(WIDTH));
            for ((y, x), (past, w)) in y.iter_mut().zip(x).zip(channels) {
                for (s, w) in past.iter().zip(w) {
                    *y += *w * *s;
                }
                *y += w[PAST] * *x;
                past.copy_within(1.., 0);
                past[PAST - 1] = *x;
            }
            for y in y {
                *y = y.silu();
            }
        });
    }

    fn cpu_bwd<R: Real>(
        &self,
        _step: &StepParams,
        _ins: &[In<'_, R>],
        _outs: &[In<'_, R>],
        _d_outs: &[In<'_, R>],
        _d_ins: &mut [Out<'_, R>],
    ) {
        unreachable!("no input has a gradient");
    }
}

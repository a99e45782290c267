use super::{ConvStep, PAST, WIDTH};
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};
use rayon::prelude::*;

impl CpuOp for ConvStep {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (x, w) = (io.read("x"), io.read("w"));
        let bias = self.bias.then(|| io.read("b"));
        let (y, state) = (io.write("y"), io.write("state"));
        let n = self.channels;
        let rows = y.par_chunks_mut(n).zip(state.par_chunks_mut(n * PAST));
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
}

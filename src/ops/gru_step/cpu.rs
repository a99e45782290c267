use super::GruStep;
use crate::ops::gru::cpu::step_fwd;
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};
use rayon::prelude::*;

impl CpuOp for GruStep {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let d = self.d;
        let given = io
            .read("xg")
            .par_chunks(3 * d)
            .zip(io.read("hg").par_chunks(3 * d));
        let (h_out, state) = (io.write("h_out"), io.write("h"));
        let rows = h_out.par_chunks_mut(d).zip(state.par_chunks_mut(d));
        rows.zip(given).for_each(|((h, state), (x, s))| {
            step_fwd(x, s, state, h);
            state.copy_from_slice(h);
        });
    }
}

use super::GruStep;
use crate::ops::gru::cpu::step_fwd;
use crate::step::StepParams;
use crate::twin::CpuOp;
use crate::twin::{In, Out, Real};
use rayon::prelude::*;

impl CpuOp for GruStep {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, ins: &[In<'_, R>], outs: &mut [Out<'_, R>]) {
        let d = self.d;
        let given = ins[0]
            .real()
            .par_chunks(3 * d)
            .zip(ins[1].real().par_chunks(3 * d));
        let [h_out, state] = outs else {
            unreachable!("the ports say two outputs")
        };
        let rows = h_out.real().par_chunks_mut(d).zip(state.real().par_chunks_mut(d));
        rows.zip(given).for_each(|((h, state), (x, s))| {
            step_fwd(x, s, state, h);
            state.copy_from_slice(h);
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

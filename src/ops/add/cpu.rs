use super::Add;
use crate::step::StepParams;
use crate::twin::CpuOp;
use crate::twin::{In, Out, Real};

impl CpuOp for Add {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, ins: &[In<'_, R>], outs: &mut [Out<'_, R>]) {
        for (y, x) in outs[0].real().iter_mut().zip(ins[0].real()) {
            *y += *x;
        }
    }

    fn cpu_bwd<R: Real>(
        &self,
        _step: &StepParams,
        _ins: &[In<'_, R>],
        _outs: &[In<'_, R>],
        _d_outs: &[In<'_, R>],
        _d_ins: &mut [Out<'_, R>],
    ) {
        unreachable!("`add` has no gradients: it only occurs in backward passes");
    }
}

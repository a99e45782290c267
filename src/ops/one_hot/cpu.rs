use super::OneHot;
use crate::cpu::{In, Out, Real};
use crate::ops::CpuOp;
use crate::step::StepParams;

impl CpuOp for OneHot {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, ins: &[In<'_, R>], outs: &mut [Out<'_, R>]) {
        let u = outs[0].real();
        u.fill(R::ZERO);
        for (row, &symbol) in u.chunks_exact_mut(self.vocab).zip(ins[0].int()) {
            if let Some(u) = row.get_mut(symbol as usize) {
                *u = R::ONE;
            }
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
        unreachable!("symbols have no gradient");
    }
}

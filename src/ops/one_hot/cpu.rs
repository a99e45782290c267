use super::OneHot;
use crate::step::StepParams;
use crate::twin::CpuOp;
use crate::twin::{In, Out, Real};

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

use super::Softplus;
use crate::cpu::{In, Out, Real};
use crate::ops::CpuOp;
use crate::step::StepParams;

impl CpuOp for Softplus {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, ins: &[In<'_, R>], outs: &mut [Out<'_, R>]) {
        let offset = R::of(f64::from(self.offset));
        for (y, x) in outs[0].real().iter_mut().zip(ins[0].real()) {
            *y = offset + x.softplus();
        }
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
        if let Some(dx) = d_ins[0].sum() {
            for ((dx, dy), x) in dx.iter_mut().zip(dy).zip(x) {
                *dx += *dy * x.sigmoid();
            }
        }
    }
}

use super::Sigmoid;
use crate::cpu::{In, Out, Real};
use crate::ops::CpuOp;
use crate::step::StepParams;

impl CpuOp for Sigmoid {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, ins: &[In<'_, R>], outs: &mut [Out<'_, R>]) {
        let scale = R::of(f64::from(self.scale));
        for (y, x) in outs[0].real().iter_mut().zip(ins[0].real()) {
            *y = scale * x.sigmoid();
        }
    }

    fn cpu_bwd<R: Real>(
        &self,
        _step: &StepParams,
        _ins: &[In<'_, R>],
        outs: &[In<'_, R>],
        d_outs: &[In<'_, R>],
        d_ins: &mut [Out<'_, R>],
    ) {
        let inv_scale = R::of(1.0 / f64::from(self.scale));
        let (y, dy) = (outs[0].real(), d_outs[0].real());
        if let Some((dx, _)) = d_ins[0].wanted() {
            for i in 0..self.numel {
                dx[i] = dy[i] * y[i] * (R::ONE - y[i] * inv_scale);
            }
        }
    }
}

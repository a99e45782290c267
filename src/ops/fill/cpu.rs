use super::{Content, Fill};
use crate::ops::chunks::retention_log_decay;
use crate::step::StepParams;
use crate::twin::CpuOp;
use crate::twin::{In, Out, Real};

impl CpuOp for Fill {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, _ins: &[In<'_, R>], outs: &mut [Out<'_, R>]) {
        for (i, y) in outs[0].real().iter_mut().enumerate() {
            *y = R::of(match self.content {
                Content::Constant(value) => f64::from(value),
                Content::Retention(heads) => retention_log_decay(i % heads),
            });
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
    }
}

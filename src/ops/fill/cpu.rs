use super::{Content, Fill};
use crate::ops::chunks::retention_log_decay;
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};

impl CpuOp for Fill {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        for (i, y) in io.write("y").iter_mut().enumerate() {
            *y = R::of(match self.content {
                Content::Constant(value) => f64::from(value),
                Content::Retention(heads) => retention_log_decay(i % heads),
            });
        }
    }
}

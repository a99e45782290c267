use super::Add;
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};

impl CpuOp for Add {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        for (y, x) in io.write("y").iter_mut().zip(io.read("x")) {
            *y += *x;
        }
    }
}

use super::Cast;
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};

impl CpuOp for Cast {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        io.write("y").copy_from_slice(io.read("x"));
    }
}

use super::DeltaRule;
use crate::gpu::lower::{GpuOut, Lower, View};
use crate::ops::GpuOp;
impl GpuOp for DeltaRule {
    fn gpu_fwd(&self, _l: &mut Lower<'_>, _ins: &[View], _outs: &[GpuOut]) { panic!("not here") }
    fn gpu_bwd(&self, _l: &mut Lower<'_>, _ins: &[Option<View>], _outs: &[Option<View>], _d_outs: &[Option<View>], _d_ins: &[Option<GpuOut>]) { panic!("not here") }
}

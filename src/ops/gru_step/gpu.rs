use super::GruStep;
use crate::launch::{GpuOp, grid_1d};
use crate::launch::{GpuOut, Lower, View};
use crate::shader::Kernel;

impl GpuOp for GruStep {
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        let n = self.b * self.d;
        let bindings = [ins[0], ins[1], outs[0].view, outs[1].view];
        let params = [n as u32, self.d as u32];
        let kernel = Kernel::new("gru_step/gru_step_fwd");
        l.run(kernel, &bindings, params, grid_1d(n.div_ceil(256)));
    }

    fn gpu_bwd(
        &self,
        _l: &mut Lower<'_>,
        _ins: &[Option<View>],
        _outs: &[Option<View>],
        _d_outs: &[Option<View>],
        _d_ins: &[Option<GpuOut>],
    ) {
        unreachable!("no input has a gradient");
    }
}

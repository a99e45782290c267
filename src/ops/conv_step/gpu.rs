use super::ConvStep;
use crate::launch::{GpuOp, grid_1d};
use crate::launch::{GpuOut, Lower, View};
use crate::shader::Kernel;

impl GpuOp for ConvStep {
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        let n = self.b * self.channels;
        let mut bindings = ins.to_vec();
        bindings.extend(outs.iter().map(|o| o.view));
        let kernel = Kernel::new("conv_step/conv_step_fwd").set("BIAS", self.bias);
        let params = [n as u32, self.channels as u32];
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

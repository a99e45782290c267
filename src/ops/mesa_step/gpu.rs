use super::MesaStep;
use crate::launch::{GpuOp, grid_1d};
use crate::launch::{GpuOut, Lower, View};
use crate::shader::Kernel;

impl GpuOp for MesaStep {
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        let (q, k, v, g, beta, lambda) = (ins[0], ins[1], ins[2], ins[3], ins[4], ins[5]);
        let (o, m, n) = (outs[0].view, outs[1].view, outs[2].view);
        let heads = self.b * self.h;
        let elements = heads * self.d * self.d;
        let kernel = Kernel::new("mesa_step/mesa_step_write_fwd");
        let params = [elements as u32, self.d as u32];
        l.run(
            kernel,
            &[k, v, g, beta, m, n],
            params,
            grid_1d(elements.div_ceil(256)),
        );

        let kernel = Kernel::new("mesa_step/mesa_step_fwd").set("COLUMNS", self.d.next_power_of_two());
        let params = [heads as u32, self.h as u32, self.d as u32];
        l.run(kernel, &[q, lambda, m, n, o], params, grid_1d(heads));
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

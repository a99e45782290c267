use super::S4dStep;
use crate::launch::{GpuOp, grid_1d};
use crate::launch::{GpuOut, Lower, View};
use crate::ops::rows::Layout;
use crate::ops::s4d_scan::gpu::discretise;

impl GpuOp for S4dStep {
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        let &[u, log_dt, c, log_a_real, a_imag, skip, position] = ins else {
            unreachable!("the graph gives all inputs")
        };
        let parameters = [log_dt, c, log_a_real, a_imag];
        let planes = discretise(l, parameters, self.channels, self.states, self.states);

        let (rows, layout) = (self.b * self.channels, Layout::new(self.states));
        let kernel = layout.kernel("s4d_step/s4d_step_fwd");
        let params = [rows as u32, self.channels as u32, self.states as u32];
        let bindings = [u, planes, skip, position, outs[0].view, outs[1].view];
        l.run(kernel, &bindings, params, grid_1d(layout.groups(rows)));
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

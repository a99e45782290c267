use super::GruStep;
use crate::launch::{GpuOp, Lower, Views, grid_1d};
use crate::shader::Kernel;

impl GpuOp for GruStep {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let n = self.b * self.d;
        let bindings = [
            ("xg", io.read("xg")),
            ("hg", io.read("hg")),
            ("h_out", io.write("h_out")),
            ("h", io.write("h")),
        ];
        let params = [n as u32, self.d as u32];
        let kernel = Kernel::new("gru_step/gru_step_fwd");
        l.run(kernel, &bindings, params, grid_1d(n.div_ceil(256)));
    }
}

use super::ConvStep;
use crate::launch::{GpuOp, Lower, Views, grid_1d};
use crate::shader::Kernel;

impl GpuOp for ConvStep {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let n = self.b * self.channels;
        let mut bindings = vec![
            ("x", io.read("x")),
            ("w", io.read("w")),
            ("y", io.write("y")),
            ("state", io.write("state")),
        ];
        bindings.extend(io.read_if("b").map(|b| ("b", b)));
        let kernel = Kernel::new("conv_step/conv_step_fwd").set("BIAS", self.bias);
        let params = [n as u32, self.channels as u32];
        l.run(kernel, &bindings, params, grid_1d(n.div_ceil(256)));
    }
}

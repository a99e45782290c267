use super::Add;
use crate::launch::{GpuOp, Lower, Views, grid_1d};
use crate::shader::Kernel;

impl GpuOp for Add {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let grid = grid_1d(self.numel.div_ceil(256));
        l.run(
            Kernel::new("add/add_fwd"),
            &[("x", io.read("x")), ("y", io.write("y"))],
            [self.numel as u32],
            grid,
        );
    }
}

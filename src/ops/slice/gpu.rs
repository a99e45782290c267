use super::Slice;
use crate::launch::{GpuOp, Lower, Views, grid_1d};
use crate::shader::Kernel;
use bytemuck::{Pod, Zeroable};

/// Mirrors `Params` of both kernels.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
    width: u32,
    first: u32,
    len: u32,
}

impl Slice {
    fn params(&self, columns: usize) -> Params {
        Params {
            n: (self.rows * columns) as u32,
            width: self.width as u32,
            first: self.from as u32,
            len: self.len as u32,
        }
    }
}

impl GpuOp for Slice {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let params = self.params(self.len);
        let grid = grid_1d((self.rows * self.len).div_ceil(256));
        l.run(
            Kernel::new("slice/slice_fwd"),
            &[("x", io.read("x")), ("y", io.write("y"))],
            params,
            grid,
        );
    }

    fn gpu_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        let Some(grad_x) = io.wanted("x") else { return };
        let grad_y = io.grad("y");
        // Adding leaves the other columns alone.
        let columns = if grad_x.accumulate { self.len } else { self.width };
        let kernel = Kernel::new("slice/slice_bwd").set("ADD", grad_x.accumulate);
        let grid = grid_1d((self.rows * columns).div_ceil(256));
        l.run(
            kernel,
            &[("grad_y", grad_y), ("grad_x", grad_x.view)],
            self.params(columns),
            grid,
        );
    }
}

use super::L2Norm;
use crate::launch::{GpuOp, Lower, Views, grid_1d};
use crate::ops::rows::Layout;
use bytemuck::{Pod, Zeroable};

/// Mirrors `Params` of both kernels.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    d: u32,
    eps: f32,
}

impl L2Norm {
    fn params(&self) -> Params {
        Params {
            rows: self.rows as u32,
            d: self.d as u32,
            eps: self.eps,
        }
    }
}

impl GpuOp for L2Norm {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let layout = Layout::quads(self.d);
        let grid = grid_1d(layout.groups(self.rows));
        let bindings = [("x", io.read("x")), ("y", io.write("y")), ("r", io.write("r"))];
        l.run(
            layout.kernel("l2_norm/l2_norm_fwd"),
            &bindings,
            self.params(),
            grid,
        );
    }

    fn gpu_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        let Some(grad_x) = io.wanted("x") else { return };
        let (y, r, grad_y) = (io.read("y"), io.read("r"), io.grad("y"));
        let layout = Layout::quads(self.d);
        let grid = grid_1d(layout.groups(self.rows));
        l.run(
            layout.kernel("l2_norm/l2_norm_bwd"),
            &[("y", y), ("r", r), ("grad_y", grad_y), ("grad_x", grad_x.view)],
            self.params(),
            grid,
        );
    }
}

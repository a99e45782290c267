use super::L2Norm;
use crate::launch::{GpuOp, grid_1d};
use crate::launch::{GpuOut, Lower, View};
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
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        let layout = Layout::new(self.d);
        let grid = grid_1d(layout.groups(self.rows));
        let bindings = [ins[0], outs[0].view, outs[1].view];
        l.run(
            layout.kernel("l2_norm/l2_norm_fwd"),
            &bindings,
            self.params(),
            grid,
        );
    }

    fn gpu_bwd(
        &self,
        l: &mut Lower<'_>,
        _ins: &[Option<View>],
        outs: &[Option<View>],
        grad_outs: &[Option<View>],
        grad_ins: &[Option<GpuOut>],
    ) {
        let (Some(y), Some(r), Some(grad_y), Some(grad_x)) = (outs[0], outs[1], grad_outs[0], grad_ins[0])
        else {
            return;
        };
        let layout = Layout::new(self.d);
        let grid = grid_1d(layout.groups(self.rows));
        l.run(
            layout.kernel("l2_norm/l2_norm_bwd"),
            &[y, r, grad_y, grad_x.view],
            self.params(),
            grid,
        );
    }
}

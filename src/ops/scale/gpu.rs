use super::Scale;
use crate::launch::{GpuOp, grid_1d};
use crate::launch::{GpuOut, Lower, View};
use crate::ops::reduce::or_scratch;
use crate::ops::rows::Layout;
use crate::shader::Kernel;
use bytemuck::{Pod, Zeroable};

/// Mirrors `Params` of both kernels.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    p: u32,
    accumulate: u32,
}

impl Scale {
    fn params(&self, accumulate: bool) -> Params {
        Params {
            rows: self.rows as u32,
            p: self.p as u32,
            accumulate: u32::from(accumulate),
        }
    }
}

impl GpuOp for Scale {
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        let grid = grid_1d((self.rows * self.p).div_ceil(256));
        let bindings = [ins[0], ins[1], outs[0].view];
        l.run(
            Kernel::new("scale/scale_fwd"),
            &bindings,
            self.params(false),
            grid,
        );
    }

    fn gpu_bwd(
        &self,
        l: &mut Lower<'_>,
        ins: &[Option<View>],
        _outs: &[Option<View>],
        grad_outs: &[Option<View>],
        grad_ins: &[Option<GpuOut>],
    ) {
        let (Some(x), Some(s), Some(grad_y)) = (ins[0], ins[1], grad_outs[0]) else {
            return;
        };
        let grad_x = or_scratch(l, grad_ins[0], x.len);
        let grad_s = or_scratch(l, grad_ins[1], s.len);
        let layout = Layout::new(self.p);
        let params = self.params(grad_ins[0].is_some_and(|out| out.accumulate));
        let kernel = layout.kernel("scale/scale_bwd");
        l.run(
            kernel,
            &[x, s, grad_y, grad_x, grad_s],
            params,
            grid_1d(layout.groups(self.rows)),
        );
    }
}

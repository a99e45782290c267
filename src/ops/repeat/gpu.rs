use super::Repeat;
use crate::launch::{GpuOp, grid_1d};
use crate::launch::{GpuOut, Lower, View};
use crate::ops::linear::{Linear, gpu::grad_b};
use crate::shader::Kernel;
use bytemuck::{Pod, Zeroable};

/// Mirrors `Params` of the kernel.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
    d: u32,
}

impl GpuOp for Repeat {
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        let n = self.rows * self.d;
        let params = Params {
            n: n as u32,
            d: self.d as u32,
        };
        let kernel = Kernel::new("repeat/repeat_fwd");
        l.run(kernel, &[ins[0], outs[0].view], params, grid_1d(n.div_ceil(256)));
    }

    fn gpu_bwd(
        &self,
        l: &mut Lower<'_>,
        _ins: &[Option<View>],
        _outs: &[Option<View>],
        grad_outs: &[Option<View>],
        grad_ins: &[Option<GpuOut>],
    ) {
        let (Some(grad_y), Some(out)) = (grad_outs[0], grad_ins[0]) else {
            return;
        };
        let sums = Linear {
            rows: self.rows,
            inp: 1,
            out: self.d,
            bias: true,
        };
        grad_b(l, &sums, grad_y, out);
    }
}

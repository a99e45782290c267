use super::Softplus;
use crate::gpu::lower::{GpuOut, Lower, View};
use crate::gpu::shader::Kernel;
use crate::ops::{GpuOp, grid_1d};
use bytemuck::{Pod, Zeroable};

/// Mirrors `Params` of both kernels.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
    offset: f32,
    accumulate: u32,
}

impl Softplus {
    fn params(&self, accumulate: bool) -> Params {
        Params {
            n: self.numel as u32,
            offset: self.offset,
            accumulate: u32::from(accumulate),
        }
    }
}

impl GpuOp for Softplus {
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        let kernel = Kernel::new("softplus/softplus_fwd");
        let grid = grid_1d(self.numel.div_ceil(256));
        l.run(kernel, &[ins[0], outs[0].view], self.params(false), grid);
    }

    fn gpu_bwd(
        &self,
        l: &mut Lower<'_>,
        ins: &[Option<View>],
        _outs: &[Option<View>],
        d_outs: &[Option<View>],
        d_ins: &[Option<GpuOut>],
    ) {
        let (Some(x), Some(dy), Some(dx)) = (ins[0], d_outs[0], d_ins[0]) else {
            return;
        };
        let kernel = Kernel::new("softplus/softplus_bwd");
        let grid = grid_1d(self.numel.div_ceil(256));
        l.run(kernel, &[x, dy, dx.view], self.params(dx.accumulate), grid);
    }
}

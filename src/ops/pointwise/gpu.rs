use super::{Function, Pointwise};
use crate::launch::{GpuOp, grid_1d};
use crate::launch::{GpuOut, Lower, View};
use crate::shader::Kernel;
use bytemuck::{Pod, Zeroable};

/// Mirrors `Params` of both kernels.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
    scale: f32,
    offset: f32,
    accumulate: u32,
}

impl Pointwise {
    fn params(&self, accumulate: bool) -> Params {
        Params {
            n: self.numel as u32,
            scale: self.scale,
            offset: self.offset,
            accumulate: u32::from(accumulate),
        }
    }

    fn kernel(&self, path: &'static str) -> Kernel {
        let number = match self.function {
            Function::Sigmoid => 0,
            Function::LogSigmoid => 1,
            Function::Silu => 2,
            Function::Complement => 3,
            Function::Softplus => 4,
        };
        Kernel::new(path).set("FUNCTION", number)
    }
}

impl GpuOp for Pointwise {
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        let kernel = self.kernel("pointwise/pointwise_fwd");
        let grid = grid_1d(self.numel.div_ceil(256));
        l.run(kernel, &[ins[0], outs[0].view], self.params(false), grid);
    }

    fn gpu_bwd(
        &self,
        l: &mut Lower<'_>,
        ins: &[Option<View>],
        _outs: &[Option<View>],
        grad_outs: &[Option<View>],
        grad_ins: &[Option<GpuOut>],
    ) {
        let (Some(x), Some(grad_y), Some(grad_x)) = (ins[0], grad_outs[0], grad_ins[0]) else {
            return;
        };
        let kernel = self.kernel("pointwise/pointwise_bwd");
        let grid = grid_1d(self.numel.div_ceil(256));
        l.run(
            kernel,
            &[x, grad_y, grad_x.view],
            self.params(grad_x.accumulate),
            grid,
        );
    }
}

use super::{Function, Pointwise};
use crate::launch::{GpuOp, Lower, Views, grid_1d};
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
            n: self.threads() as u32,
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
        Kernel::new(path)
            .set("FUNCTION", number)
            .set("WIDE", self.quads())
    }

    /// Whether a thread takes four elements.
    fn quads(&self) -> bool {
        self.numel.is_multiple_of(4)
    }

    fn threads(&self) -> usize {
        self.numel / if self.quads() { 4 } else { 1 }
    }
}

impl GpuOp for Pointwise {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let kernel = self.kernel("pointwise/pointwise_fwd");
        let grid = grid_1d(self.threads().div_ceil(256));
        l.run(
            kernel,
            &[("x", io.read("x")), ("y", io.write("y"))],
            self.params(false),
            grid,
        );
    }

    fn gpu_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        let Some(grad_x) = io.wanted("x") else { return };
        let (x, grad_y) = (io.read("x"), io.grad("y"));
        let kernel = self.kernel("pointwise/pointwise_bwd");
        let grid = grid_1d(self.threads().div_ceil(256));
        l.run(
            kernel,
            &[("x", x), ("grad_y", grad_y), ("grad_x", grad_x.view)],
            self.params(grad_x.accumulate),
            grid,
        );
    }
}

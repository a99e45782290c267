use super::{Function, Pointwise};
use crate::launch::{Bound, GpuOp, Lower, Views, grid_1d};
use crate::ops::rows::by_quads;
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
    fn launch(&self, l: &mut Lower<'_>, path: &'static str, bindings: &[Bound], accumulate: bool) {
        let number = match self.function {
            Function::Sigmoid => 0,
            Function::LogSigmoid => 1,
            Function::Silu => 2,
            Function::Complement => 3,
            Function::Softplus => 4,
        };
        let (kernel, threads) = by_quads(path, self.numel, self.numel);
        let params = Params {
            n: threads as u32,
            scale: self.scale,
            offset: self.offset,
            accumulate: u32::from(accumulate),
        };
        let grid = grid_1d(threads.div_ceil(256));
        l.run(kernel.set("FUNCTION", number), bindings, params, grid);
    }
}

impl GpuOp for Pointwise {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let bindings = [("x", io.read("x")), ("y", io.write("y"))];
        self.launch(l, "pointwise/pointwise_fwd", &bindings, false);
    }

    fn gpu_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        let Some(grad_x) = io.wanted("x") else { return };
        let (x, grad_y) = (io.read("x"), io.grad("y"));
        let bindings = [("x", x), ("grad_y", grad_y), ("grad_x", grad_x.view)];
        self.launch(l, "pointwise/pointwise_bwd", &bindings, grad_x.accumulate);
    }
}

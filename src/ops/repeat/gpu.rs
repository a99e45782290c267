use super::Repeat;
use crate::launch::{GpuOp, Lower, Views, grid_1d};
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
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let n = self.rows * self.d;
        let params = Params {
            n: n as u32,
            d: self.d as u32,
        };
        let kernel = Kernel::new("repeat/repeat_fwd");
        l.run(
            kernel,
            &[("x", io.read("x")), ("y", io.write("y"))],
            params,
            grid_1d(n.div_ceil(256)),
        );
    }

    fn gpu_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        let Some(out) = io.wanted("x") else { return };
        let grad_y = io.grad("y");
        let sums = Linear {
            rows: self.rows,
            inp: 1,
            out: self.d,
            bias: true,
        };
        grad_b(l, &sums, grad_y, out);
    }
}

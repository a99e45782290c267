use super::SwiGlu;
use crate::launch::{GpuOp, Lower, Views, grid_1d};
use crate::ops::reduce::{MAX_PARTS, column_sum, or_scratch};
use crate::ops::rows::by_quads;
use crate::shader::Kernel;
use bytemuck::{Pod, Zeroable};

/// Mirrors `Params` of both kernels.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
    d: u32,
    parts: u32,
}

impl SwiGlu {
    fn params(&self, parts: usize) -> Params {
        Params {
            n: (self.rows * self.d) as u32,
            d: self.d as u32,
            parts: parts as u32,
        }
    }

    /// Workgroups for one pass over the outputs.
    fn groups(&self) -> usize {
        (self.rows * self.d).div_ceil(256)
    }
}

impl GpuOp for SwiGlu {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let (kernel, threads) = by_quads("swiglu/swiglu_fwd", self.rows * self.d, self.d);
        let params = Params {
            n: threads as u32,
            d: (threads / self.rows) as u32,
            parts: 0,
        };
        let bindings = [
            ("x", io.read("x")),
            ("beta", io.read("beta")),
            ("y", io.write("y")),
        ];
        l.run(kernel, &bindings, params, grid_1d(threads.div_ceil(256)));
    }

    fn gpu_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        let (x, beta, grad_y) = (io.read("x"), io.read("beta"), io.grad("y"));
        let parts = self.groups().min(MAX_PARTS);
        let grad_x = or_scratch(l, io.wanted("x"), x.len);
        let grad_beta = l.scratch(parts);
        let bindings = [
            ("x", x),
            ("beta", beta),
            ("grad_y", grad_y),
            ("grad_x", grad_x),
            ("grad_beta", grad_beta),
        ];
        l.run(
            Kernel::new("swiglu/swiglu_bwd"),
            &bindings,
            self.params(parts),
            grid_1d(parts),
        );
        if let Some(out) = io.wanted("beta") {
            column_sum(l, grad_beta, parts, 1, out);
        }
    }
}

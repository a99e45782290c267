use super::Glu;
use crate::launch::{Bound, GpuOp, Lower, Views, grid_1d};
use crate::shader::Kernel;
use bytemuck::{Pod, Zeroable};

/// Mirrors `Params` of both kernels.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
    d: u32,
}

impl Glu {
    fn launch(&self, l: &mut Lower<'_>, path: &'static str, bindings: &[Bound]) {
        let n = self.rows * self.d;
        let params = Params {
            n: n as u32,
            d: self.d as u32,
        };
        l.run(Kernel::new(path), bindings, params, grid_1d(n.div_ceil(256)));
    }
}

impl GpuOp for Glu {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        self.launch(l, "glu/glu_fwd", &[("x", io.read("x")), ("y", io.write("y"))]);
    }

    fn gpu_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        if let Some(grad_x) = io.wanted("x") {
            let (x, grad_y) = (io.read("x"), io.grad("y"));
            self.launch(
                l,
                "glu/glu_bwd",
                &[("x", x), ("grad_y", grad_y), ("grad_x", grad_x.view)],
            );
        }
    }
}

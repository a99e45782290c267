use super::Scale;
use crate::launch::{GpuOp, Lower, Views, grid_1d};
use crate::ops::reduce::or_scratch;
use crate::ops::rows::{Layout, by_quads};
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
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let (kernel, threads) = by_quads("scale/scale_fwd", self.rows * self.p, self.p);
        let grid = grid_1d(threads.div_ceil(256));
        let bindings = [("x", io.read("x")), ("s", io.read("s")), ("y", io.write("y"))];
        l.run(kernel, &bindings, self.params(false), grid);
    }

    fn gpu_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        let (x, s, grad_y) = (io.read("x"), io.read("s"), io.grad("y"));
        let grad_x = or_scratch(l, io.wanted("x"), x.len);
        let grad_s = or_scratch(l, io.wanted("s"), s.len);
        let layout = Layout::quads(self.p);
        let params = self.params(io.wanted("x").is_some_and(|out| out.accumulate));
        let kernel = layout.kernel("scale/scale_bwd");
        l.run(
            kernel,
            &[
                ("x", x),
                ("s", s),
                ("grad_y", grad_y),
                ("grad_x", grad_x),
                ("grad_s", grad_s),
            ],
            params,
            grid_1d(layout.groups(self.rows)),
        );
    }
}

use super::Skip;
use crate::launch::{GpuOp, Lower, Views, grid_1d};
use crate::ops::linear::{Linear, gpu::grad_b};
use crate::ops::reduce::or_scratch;
use crate::ops::rows::{Layout, by_quads};
use bytemuck::{Pod, Zeroable};

/// Mirrors `Params` of both kernels.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    h: u32,
    p: u32,
    accumulate: u32,
}

impl Skip {
    fn params(&self, accumulate: bool) -> Params {
        Params {
            rows: (self.rows * self.h) as u32,
            h: self.h as u32,
            p: self.p as u32,
            accumulate: u32::from(accumulate),
        }
    }
}

impl GpuOp for Skip {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let bindings = [
            ("o", io.read("o")),
            ("x", io.read("x")),
            ("d", io.read("D")),
            ("y", io.write("y")),
        ];
        let (kernel, threads) = by_quads("skip/skip_fwd", self.rows * self.h * self.p, self.p);
        let grid = grid_1d(threads.div_ceil(256));
        l.run(kernel, &bindings, self.params(false), grid);
    }

    fn gpu_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        let (x, d, grad_y) = (io.read("x"), io.read("D"), io.grad("y"));
        let heads = self.rows * self.h;
        let grad_x = or_scratch(l, io.wanted("x"), x.len);
        let terms = l.scratch(heads);
        let layout = Layout::quads(self.p);
        let params = self.params(io.wanted("x").is_some_and(|out| out.accumulate));
        let kernel = layout.kernel("skip/skip_bwd");
        let grid = grid_1d(layout.groups(heads));
        l.run(
            kernel,
            &[
                ("x", x),
                ("d", d),
                ("grad_y", grad_y),
                ("grad_x", grad_x),
                ("terms", terms),
            ],
            params,
            grid,
        );
        if let Some(out) = io.wanted("D") {
            let sums = Linear {
                rows: self.rows,
                inp: 1,
                out: self.h,
                bias: true,
            };
            grad_b(l, &sums, terms, out);
        }
    }
}

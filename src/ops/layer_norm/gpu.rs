use super::LayerNorm;
use crate::launch::{GpuOp, Lower, Views, grid_1d};
use crate::ops::reduce::{column_sums, or_scratch};
use crate::ops::rows::{Layout, NormParams};

impl LayerNorm {
    fn params(&self, parts: usize) -> NormParams {
        NormParams::new([self.rows, self.d], self.eps, parts)
    }
}

impl GpuOp for LayerNorm {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let layout = Layout::quads(self.d);
        let groups = layout.groups(self.rows);
        let bindings = [
            ("x", io.read("x")),
            ("w", io.read("w")),
            ("b", io.read("b")),
            ("y", io.write("y")),
            ("offset", io.write("offset")),
            ("r", io.write("r")),
        ];
        let kernel = layout.kernel("layer_norm/layer_norm_fwd");
        l.run(kernel, &bindings, self.params(groups), grid_1d(groups));
    }

    fn gpu_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        let (x, w, offset, r) = (io.read("x"), io.read("w"), io.read("offset"), io.read("r"));
        let grad_y = io.grad("y");
        let layout = Layout::quads(self.d);
        let parts = layout.parts(self.rows);
        let grad_x = or_scratch(l, io.wanted("x"), x.len);
        let sums = [l.scratch(parts * self.d), l.scratch(parts * self.d)];
        let bindings = [
            ("x", x),
            ("w", w),
            ("offset", offset),
            ("r", r),
            ("grad_y", grad_y),
            ("grad_x", grad_x),
            ("grad_w", sums[0]),
            ("grad_b", sums[1]),
        ];
        let kernel = layout.kernel("layer_norm/layer_norm_bwd");
        l.run(kernel, &bindings, self.params(parts), grid_1d(parts));
        column_sums(l, &sums, parts, self.d, &[io.wanted("w"), io.wanted("b")]);
    }
}

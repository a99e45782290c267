use super::RmsNorm;
use crate::launch::{GpuOp, Lower, View, Views, grid_1d};
use crate::ops::reduce::{column_sum, or_scratch};
use crate::ops::rows::{Layout, NormParams};
use crate::shader::Kernel;
use crate::tensor::Dtype;

impl RmsNorm {
    fn params(&self, parts: usize) -> NormParams {
        NormParams::new([self.rows, self.d], self.eps, parts)
    }

    fn kernel(&self, path: &'static str, x: View) -> Kernel {
        Layout::quads(self.d)
            .kernel(path)
            .set("KIND", self.kind as usize)
            .set("GATED", self.kind.gated())
            .set("ROUNDED", x.dtype == Dtype::F16)
    }
}

impl GpuOp for RmsNorm {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let groups = Layout::quads(self.d).groups(self.rows);
        let mut bindings = vec![
            ("x", io.read("x")),
            ("w", io.read("w")),
            ("y", io.write("y")),
            ("saved", io.write("s")),
        ];
        bindings.extend(io.read_if("g").map(|g| ("g", g)));
        let kernel = self.kernel("rms_norm/rms_norm_fwd", io.read("x"));
        l.run(kernel, &bindings, self.params(groups), grid_1d(groups));
    }

    fn gpu_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        let (x, w, saved, grad_y) = (io.read("x"), io.read("w"), io.read("s"), io.grad("y"));
        let parts = Layout::quads(self.d).parts(self.rows);
        let grad_x = or_scratch(l, io.wanted("x"), x.len);
        let grad_w = l.scratch(parts * self.d);
        let mut bindings = vec![
            ("x", x),
            ("w", w),
            ("saved", saved),
            ("grad_y", grad_y),
            ("grad_x", grad_x),
            ("grad_w", grad_w),
        ];
        if let Some(g) = io.read_if("g") {
            bindings.extend([("g", g), ("grad_g", or_scratch(l, io.wanted("g"), g.len))]);
        }
        let kernel = self.kernel("rms_norm/rms_norm_bwd", x);
        l.run(kernel, &bindings, self.params(parts), grid_1d(parts));
        if let Some(out) = io.wanted("w") {
            column_sum(l, grad_w, parts, self.d, out);
        }
    }
}

use super::LayerNorm;
use crate::launch::{Bound, GpuOp, Lower, Views, grid_1d};
use crate::ops::reduce::{column_sums, or_like};
use crate::ops::rows::{Layout, NormParams};
use crate::philox::DROPOUT_KEY;
use crate::port::Pass;
use crate::shader::Value;
use crate::variant::Variant;
use bytemuck::{Pod, Zeroable};

/// Mirrors `Params` of both kernels.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    norm: NormParams,
    tag: u32,
    threshold: u32,
    scale: f32,
}

impl LayerNorm {
    fn launch(&self, l: &mut Lower<'_>, path: &'static str, bindings: &[Bound], parts: usize) {
        let mut params = Params {
            norm: NormParams::new([self.rows, self.d], self.eps, parts),
            ..Params::zeroed()
        };
        let mut kernel = Layout::quads(self.d).kernel(path).set("SUM", self.sum.is_some());
        if let Some(dropout) = &self.sum {
            kernel = kernel.set("DROPOUT_KEY", Value::U32(DROPOUT_KEY));
            params.tag = dropout.tag;
            params.threshold = dropout.threshold();
            params.scale = dropout.scale() as f32;
        }
        l.run(kernel, bindings, params, grid_1d(parts));
    }
}

impl GpuOp for LayerNorm {
    const VARIANTS: &'static [Variant] = &[Variant::INT64, Variant::PLAIN];

    fn takes(&self, variant: &Variant, _: Pass, _: &Views) -> bool {
        self.sum.is_some() || !variant.needs.int64
    }

    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let mut bindings = vec![
            ("w", io.read("w")),
            ("b", io.read("b")),
            ("y", io.write("y")),
            ("stats", io.write("stats")),
        ];
        match self.sum {
            Some(_) => bindings.extend([
                ("residual", io.read("residual")),
                ("z", io.read("z")),
                ("x", io.write("x")),
            ]),
            None => bindings.push(("x", io.read("x"))),
        }
        let groups = Layout::quads(self.d).groups(self.rows);
        self.launch(l, "layer_norm/layer_norm_fwd", &bindings, groups);
    }

    fn gpu_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        let (x, grad_y) = (io.read("x"), io.grad("y"));
        let parts = Layout::quads(self.d).parts(self.rows);
        let of_x = if self.sum.is_some() { "residual" } else { "x" };
        let grad_x = or_like(l, io.wanted(of_x), x);
        let sums = [l.scratch(parts * self.d), l.scratch(parts * self.d)];
        let mut bindings = vec![
            ("x", x),
            ("w", io.read("w")),
            ("stats", io.read("stats")),
            ("grad_y", grad_y),
            ("grad_x", grad_x),
            ("grad_w", sums[0]),
            ("grad_b", sums[1]),
        ];
        if self.sum.is_some() {
            bindings.push(("grad_z", or_like(l, io.wanted("z"), x)));
        }
        self.launch(l, "layer_norm/layer_norm_bwd", &bindings, parts);
        column_sums(l, &sums, parts, self.d, &[io.wanted("w"), io.wanted("b")]);
    }
}

use super::AttentionStep;
use crate::launch::{GpuOp, Lower, Views, grid_1d};
use crate::shader::Kernel;
use bytemuck::{Pod, Zeroable};

/// Mirrors `Params` of the kernels.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    heads: u32,
    h: u32,
    d: u32,
    rows: u32,
    parts: u32,
    scale: f32,
}

impl GpuOp for AttentionStep {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let (q, k, v, position) = (io.read("q"), io.read("k"), io.read("v"), io.read("position"));
        let (o, keys, values) = (io.write("o"), io.write("keys"), io.write("values"));
        let heads = self.b * self.h;
        let parts = self.parts();
        let params = Params {
            heads: heads as u32,
            h: self.h as u32,
            d: self.d as u32,
            rows: self.rows as u32,
            parts: parts as u32,
            scale: self.scale,
        };
        let elements = grid_1d((heads * self.d).div_ceil(256));
        let kernel = Kernel::new("attention_step/attention_step_append_fwd");
        l.run(
            kernel,
            &[
                ("k", k),
                ("v", v),
                ("position", position),
                ("keys", keys),
                ("values", values),
            ],
            params,
            elements,
        );

        let sums = l.scratch(heads * parts * (self.d + 2));
        let kernel = Kernel::new("attention_step/attention_step_parts_fwd").set("FORGETS", self.forgets);
        let mut bindings = vec![
            ("q", q),
            ("position", position),
            ("keys", keys),
            ("values", values),
            ("sums", sums),
        ];
        if self.forgets {
            bindings.extend([("log_f", io.read("log_f")), ("bias", io.write("bias"))]);
        }
        l.run(kernel, &bindings, params, grid_1d(heads * parts));

        let kernel = Kernel::new("attention_step/attention_step_fwd");
        l.run(
            kernel,
            &[("sums", sums), ("position", position), ("o", o)],
            params,
            elements,
        );
    }
}

use super::GeluDropout;
use crate::launch::{Bound, GpuOp, Lower, Views, grid_1d};
use crate::philox::DROPOUT_KEY;
use crate::shader::{Kernel, Value};
use crate::variant::Variant;
use bytemuck::{Pod, Zeroable};

/// Mirrors `Params` of both kernels.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    t: u32,
    d: u32,
    groups: u32,
    tag: u32,
    threshold: u32,
    scale: f32,
}

impl GeluDropout {
    fn launch(&self, l: &mut Lower<'_>, path: &'static str, bindings: &[Bound]) {
        let (dropout, groups) = (self.dropout(), self.d.div_ceil(4));
        let params = Params {
            rows: dropout.rows as u32,
            t: self.t as u32,
            d: self.d as u32,
            groups: groups as u32,
            tag: self.tag,
            threshold: dropout.threshold(),
            scale: dropout.scale() as f32,
        };
        let kernel = Kernel::new(path).set("DROPOUT_KEY", Value::U32(DROPOUT_KEY));
        let grid = grid_1d((dropout.rows * groups).div_ceil(256));
        l.run(kernel, bindings, params, grid);
    }
}

impl GpuOp for GeluDropout {
    const VARIANTS: &'static [Variant] = &[Variant::INT64, Variant::PLAIN];

    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        self.launch(
            l,
            "gelu_dropout/gelu_dropout_fwd",
            &[("x", io.read("x")), ("y", io.write("y"))],
        );
    }

    fn gpu_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        if let Some(grad_x) = io.wanted("x") {
            let (x, grad_y) = (io.read("x"), io.grad("y"));
            self.launch(
                l,
                "gelu_dropout/gelu_dropout_bwd",
                &[("x", x), ("grad_y", grad_y), ("grad_x", grad_x.view)],
            );
        }
    }
}

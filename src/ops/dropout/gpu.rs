use super::Dropout;
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
    d: u32,
    groups: u32,
    tag: u32,
    threshold: u32,
    scale: f32,
}

impl Dropout {
    fn launch(&self, l: &mut Lower<'_>, path: &'static str, bindings: &[Bound]) {
        let groups = self.d.div_ceil(4);
        let params = Params {
            rows: self.rows as u32,
            d: self.d as u32,
            groups: groups as u32,
            tag: self.tag,
            threshold: self.threshold(),
            scale: self.scale() as f32,
        };
        let kernel = Kernel::new(path)
            .set("DROPOUT_KEY", Value::U32(DROPOUT_KEY))
            .set("WIDE", self.d.is_multiple_of(4));
        l.run(
            kernel,
            bindings,
            params,
            grid_1d((self.rows * groups).div_ceil(256)),
        );
    }
}

impl GpuOp for Dropout {
    const VARIANTS: &'static [Variant] = &[Variant::INT64, Variant::PLAIN];

    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        self.launch(
            l,
            "dropout/dropout_fwd",
            &[
                ("residual", io.read("residual")),
                ("x", io.read("x")),
                ("y", io.write("y")),
            ],
        );
    }

    fn gpu_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        if let Some(grad_x) = io.wanted("x") {
            let grad_y = io.grad("y");
            self.launch(
                l,
                "dropout/dropout_bwd",
                &[("grad_y", grad_y), ("grad_x", grad_x.view)],
            );
        }
    }
}

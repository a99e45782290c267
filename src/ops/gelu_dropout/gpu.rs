use super::GeluDropout;
use crate::launch::{GpuOp, grid_1d};
use crate::launch::{GpuOut, Lower, View};
use crate::philox::DROPOUT_KEY;
use crate::shader::{Kernel, Value};
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
    fn launch(&self, l: &mut Lower<'_>, path: &'static str, bindings: &[View]) {
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
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        self.launch(l, "gelu_dropout/gelu_dropout_fwd", &[ins[0], outs[0].view]);
    }

    fn gpu_bwd(
        &self,
        l: &mut Lower<'_>,
        ins: &[Option<View>],
        _outs: &[Option<View>],
        grad_outs: &[Option<View>],
        grad_ins: &[Option<GpuOut>],
    ) {
        if let (Some(x), Some(grad_y), Some(grad_x)) = (ins[0], grad_outs[0], grad_ins[0]) {
            self.launch(l, "gelu_dropout/gelu_dropout_bwd", &[x, grad_y, grad_x.view]);
        }
    }
}

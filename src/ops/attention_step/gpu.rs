use super::AttentionStep;
use crate::launch::{GpuOp, grid_1d};
use crate::launch::{GpuOut, Lower, View};
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
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        let (q, k, v, position) = (ins[0], ins[1], ins[2], ins[3]);
        let (o, keys, values) = (outs[0].view, outs[1].view, outs[2].view);
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
        l.run(kernel, &[k, v, position, keys, values], params, elements);

        let sums = l.scratch(heads * parts * (self.d + 2));
        let kernel = Kernel::new("attention_step/attention_step_parts_fwd").set("FORGETS", self.forgets);
        let mut bindings = vec![q, position, keys, values, sums];
        if self.forgets {
            bindings.extend([ins[4], outs[3].view]);
        }
        l.run(kernel, &bindings, params, grid_1d(heads * parts));

        let kernel = Kernel::new("attention_step/attention_step_fwd");
        l.run(kernel, &[sums, position, o], params, elements);
    }

    fn gpu_bwd(
        &self,
        _l: &mut Lower<'_>,
        _ins: &[Option<View>],
        _outs: &[Option<View>],
        _d_outs: &[Option<View>],
        _d_ins: &[Option<GpuOut>],
    ) {
        unreachable!("no input has a gradient");
    }
}

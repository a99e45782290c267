use super::DecayGate;
use crate::launch::{GpuOp, grid_1d};
use crate::launch::{GpuOut, Lower, View};
use crate::ops::reduce::{column_sums, or_scratch};
use crate::ops::rows::Layout;
use crate::shader::Kernel;
use bytemuck::{Pod, Zeroable};

/// Mirrors `Params` of both kernels.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    h: u32,
    parts: u32,
}

impl DecayGate {
    fn params(&self, parts: usize) -> Params {
        Params {
            rows: self.rows as u32,
            h: self.h as u32,
            parts: parts as u32,
        }
    }
}

impl GpuOp for DecayGate {
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        let groups = (self.rows * self.h).div_ceil(256);
        let bindings = [ins[0], ins[1], ins[2], outs[0].view];
        let kernel = Kernel::new("decay_gate/decay_gate_fwd");
        l.run(kernel, &bindings, self.params(groups), grid_1d(groups));
    }

    fn gpu_bwd(
        &self,
        l: &mut Lower<'_>,
        ins: &[Option<View>],
        outs: &[Option<View>],
        grad_outs: &[Option<View>],
        grad_ins: &[Option<GpuOut>],
    ) {
        let (Some(y), Some(a_log), Some(dt_bias)) = (ins[0], ins[1], ins[2]) else {
            return;
        };
        let (Some(g), Some(grad_g)) = (outs[0], grad_outs[0]) else {
            return;
        };
        let layout = Layout::new(self.h);
        let parts = layout.parts(self.rows);
        let grad_y = or_scratch(l, grad_ins[0], y.len);
        let sums = [l.scratch(parts * self.h), l.scratch(parts * self.h)];
        let bindings = [y, a_log, dt_bias, g, grad_g, grad_y, sums[0], sums[1]];
        let kernel = layout.kernel("decay_gate/decay_gate_bwd");
        l.run(kernel, &bindings, self.params(parts), grid_1d(parts));
        column_sums(l, &sums, parts, self.h, &grad_ins[1..]);
    }
}

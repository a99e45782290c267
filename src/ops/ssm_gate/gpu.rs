use super::SsmGate;
use crate::launch::{GpuOp, grid_1d};
use crate::launch::{GpuOut, Lower, View};
use crate::ops::linear::{Linear, gpu::grad_b};
use crate::ops::reduce::or_scratch;
use crate::ops::rows::Layout;
use crate::shader::Kernel;
use bytemuck::{Pod, Zeroable};

/// Mirrors `Params` of the kernels.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    h: u32,
    p: u32,
    accumulate: u32,
}

impl SsmGate {
    fn params(&self, accumulate: bool) -> Params {
        Params {
            rows: (self.rows * self.h) as u32,
            h: self.h as u32,
            p: self.p as u32,
            accumulate: u32::from(accumulate),
        }
    }
}

impl GpuOp for SsmGate {
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        let bindings = [ins[0], ins[1], ins[2], ins[3], outs[0].view, outs[1].view];
        let grid = grid_1d((self.rows * self.h * self.p).div_ceil(256));
        let kernel = Kernel::new("ssm_gate/ssm_gate_fwd");
        l.run(kernel, &bindings, self.params(false), grid);
    }

    fn gpu_bwd(
        &self,
        l: &mut Lower<'_>,
        ins: &[Option<View>],
        _outs: &[Option<View>],
        grad_outs: &[Option<View>],
        grad_ins: &[Option<GpuOut>],
    ) {
        let (Some(x), Some(dt_raw), Some(dt_bias), Some(a_log)) = (ins[0], ins[1], ins[2], ins[3]) else {
            return;
        };
        let (Some(grad_g), Some(d_v)) = (grad_outs[0], grad_outs[1]) else {
            return;
        };
        let heads = self.rows * self.h;
        let grad_x = or_scratch(l, grad_ins[0], x.len);
        let grad_dt_raw = or_scratch(l, grad_ins[1], heads);
        let layout = Layout::new(self.p);
        let params = self.params(grad_ins[0].is_some_and(|out| out.accumulate));
        let bindings = [x, dt_raw, dt_bias, a_log, grad_g, d_v, grad_x, grad_dt_raw];
        let kernel = layout.kernel("ssm_gate/ssm_gate_bwd");
        l.run(kernel, &bindings, params, grid_1d(layout.groups(heads)));
        let sums = Linear {
            rows: self.rows,
            inp: 1,
            out: self.h,
            bias: true,
        };
        if let Some(out) = grad_ins[2] {
            grad_b(l, &sums, grad_dt_raw, out);
        }
        if let Some(out) = grad_ins[3] {
            let terms = l.scratch(heads);
            let kernel = Kernel::new("ssm_gate/ssm_rate_bwd");
            let bindings = [dt_raw, dt_bias, a_log, grad_g, terms];
            l.run(kernel, &bindings, params, grid_1d(heads.div_ceil(256)));
            grad_b(l, &sums, terms, out);
        }
    }
}

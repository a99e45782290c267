use super::RmsNorm;
use crate::launch::{GpuOp, grid_1d};
use crate::launch::{GpuOut, Lower, View};
use crate::ops::reduce::{column_sum, or_scratch};
use crate::ops::rows::{Layout, NormParams};
use crate::shader::Kernel;

impl RmsNorm {
    fn params(&self, parts: usize) -> NormParams {
        NormParams::new([self.rows, self.d], self.eps, parts)
    }

    fn kernel(&self, path: &'static str) -> Kernel {
        Layout::new(self.d).kernel(path).set("KIND", self.kind as usize)
    }
}

impl GpuOp for RmsNorm {
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        let groups = Layout::new(self.d).groups(self.rows);
        let mut bindings = ins.to_vec();
        bindings.extend(outs.iter().map(|o| o.view));
        let kernel = self.kernel("rms_norm/rms_norm_fwd");
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
        let (Some(x), Some(w), Some(saved), Some(grad_y)) = (ins[0], ins[self.w()], outs[1], grad_outs[0])
        else {
            return;
        };
        let parts = Layout::new(self.d).parts(self.rows);
        let grad_x = or_scratch(l, grad_ins[0], x.len);
        let grad_w = l.scratch(parts * self.d);
        let mut bindings = vec![x, w, saved, grad_y, grad_x, grad_w];
        if self.kind.gated() {
            let Some(g) = ins[1] else { return };
            bindings.extend([g, or_scratch(l, grad_ins[1], g.len)]);
        }
        let kernel = self.kernel("rms_norm/rms_norm_bwd");
        l.run(kernel, &bindings, self.params(parts), grid_1d(parts));
        if let Some(out) = grad_ins[self.w()] {
            column_sum(l, grad_w, parts, self.d, out);
        }
    }
}

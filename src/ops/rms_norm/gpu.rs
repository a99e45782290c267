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
        d_outs: &[Option<View>],
        d_ins: &[Option<GpuOut>],
    ) {
        let (Some(x), Some(w), Some(saved), Some(dy)) = (ins[0], ins[self.w()], outs[1], d_outs[0]) else {
            return;
        };
        let parts = Layout::new(self.d).parts(self.rows);
        let dx = or_scratch(l, d_ins[0], x.len);
        let dw = l.scratch(parts * self.d);
        let mut bindings = vec![x, w, saved, dy, dx, dw];
        if self.kind.gated() {
            let Some(g) = ins[1] else { return };
            bindings.extend([g, or_scratch(l, d_ins[1], g.len)]);
        }
        let kernel = self.kernel("rms_norm/rms_norm_bwd");
        l.run(kernel, &bindings, self.params(parts), grid_1d(parts));
        if let Some(out) = d_ins[self.w()] {
            column_sum(l, dw, parts, self.d, out);
        }
    }
}

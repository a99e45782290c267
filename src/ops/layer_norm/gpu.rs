use super::LayerNorm;
use crate::launch::{GpuOp, grid_1d};
use crate::launch::{GpuOut, Lower, View};
use crate::ops::reduce::{column_sums, or_scratch};
use crate::ops::rows::{Layout, NormParams};

impl LayerNorm {
    fn params(&self, parts: usize) -> NormParams {
        NormParams::new([self.rows, self.d], self.eps, parts)
    }
}

impl GpuOp for LayerNorm {
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        let layout = Layout::new(self.d);
        let groups = layout.groups(self.rows);
        let mut bindings = ins.to_vec();
        bindings.extend(outs.iter().map(|o| o.view));
        let kernel = layout.kernel("layer_norm/layer_norm_fwd");
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
        let (Some(x), Some(w), Some(offset), Some(r)) = (ins[0], ins[1], outs[1], outs[2]) else {
            return;
        };
        let Some(grad_y) = grad_outs[0] else { return };
        let layout = Layout::new(self.d);
        let parts = layout.parts(self.rows);
        let grad_x = or_scratch(l, grad_ins[0], x.len);
        let sums = [l.scratch(parts * self.d), l.scratch(parts * self.d)];
        let bindings = [x, w, offset, r, grad_y, grad_x, sums[0], sums[1]];
        let kernel = layout.kernel("layer_norm/layer_norm_bwd");
        l.run(kernel, &bindings, self.params(parts), grid_1d(parts));
        column_sums(l, &sums, parts, self.d, &grad_ins[1..]);
    }
}

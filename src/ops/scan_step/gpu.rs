use super::ScanStep;
use crate::launch::{GpuOp, grid_1d};
use crate::launch::{GpuOut, Lower, View};
use crate::ops::rows::Layout;
use crate::shader::Kernel;

impl GpuOp for ScanStep {
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        let rows = self.b * self.channels;
        let mut ins = ins.iter().copied();
        let mut next = |there: bool| -> Vec<View> { ins.by_ref().take(usize::from(there)).collect() };
        let timed = self.timed();
        let (u, delta_raw, z) = (next(true), next(timed), next(self.gated));
        let (bm, cm, a_log) = (next(true), next(true), next(self.decays));
        let (delta_bias, skip) = (next(timed), next(true));
        let values = vec![l.scratch(4 * rows)];

        let kernel = Kernel::new("scan_step/scan_step_values_fwd")
            .set("TIMED", timed)
            .set("TIED", self.tied)
            .set("GATED", self.gated);
        let bindings = [&u, &skip, &delta_raw, &delta_bias, &z, &values].map(|v| v.as_slice());
        let params = [rows as u32, self.channels as u32];
        l.run(kernel, &bindings.concat(), params, grid_1d(rows.div_ceil(256)));

        let layout = Layout::new(self.states);
        let kernel = layout
            .kernel("scan_step/scan_step_fwd")
            .set("DECAYS", self.decays);
        let out = vec![outs[0].view, outs[1].view];
        let bindings = [&values, &bm, &cm, &a_log, &out].map(|v| v.as_slice());
        let params = [rows as u32, self.channels as u32, self.states as u32];
        l.run(kernel, &bindings.concat(), params, grid_1d(layout.groups(rows)));
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

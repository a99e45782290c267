use super::ScanStep;
use crate::launch::{GpuOp, Lower, Views, grid_1d};
use crate::ops::rows::Layout;
use crate::shader::Kernel;

impl GpuOp for ScanStep {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let rows = self.b * self.channels;
        let values = l.scratch(4 * rows);

        let kernel = Kernel::new("scan_step/scan_step_values_fwd")
            .set("TIMED", self.timed())
            .set("TIED", self.tied)
            .set("GATED", self.gated);
        let mut bindings = vec![("u", io.read("u")), ("skip", io.read("D")), ("values", values)];
        bindings.extend(io.read_if("delta_raw").map(|raw| ("delta_raw", raw)));
        bindings.extend(io.read_if("delta_bias").map(|bias| ("delta_bias", bias)));
        bindings.extend(io.read_if("z").map(|z| ("z", z)));
        let params = [rows as u32, self.channels as u32];
        l.run(kernel, &bindings, params, grid_1d(rows.div_ceil(256)));

        let layout = Layout::new(self.states);
        let kernel = layout
            .kernel("scan_step/scan_step_fwd")
            .set("DECAYS", self.decays);
        let mut bindings = vec![
            ("values", values),
            ("bm", io.read("Bm")),
            ("cm", io.read("Cm")),
            ("y", io.write("y")),
            ("state", io.write("state")),
        ];
        bindings.extend(io.read_if("A_log").map(|a_log| ("a_log", a_log)));
        let params = [rows as u32, self.channels as u32, self.states as u32];
        l.run(kernel, &bindings, params, grid_1d(layout.groups(rows)));
    }
}

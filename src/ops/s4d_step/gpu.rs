use super::S4dStep;
use crate::launch::{GpuOp, Lower, Views, grid_1d};
use crate::ops::rows::Layout;
use crate::ops::s4d_scan::gpu::{PARAMETERS, discretise};

impl GpuOp for S4dStep {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let parameters = PARAMETERS.map(|name| io.read(name));
        let planes = discretise(l, parameters, self.channels, self.states, self.states);

        let (rows, layout) = (self.b * self.channels, Layout::new(self.states));
        let kernel = layout.kernel("s4d_step/s4d_step_fwd");
        let params = [rows as u32, self.channels as u32, self.states as u32];
        let bindings = [
            ("u", io.read("u")),
            ("planes", planes),
            ("skip", io.read("D")),
            ("position", io.read("position")),
            ("y", io.write("y")),
            ("state", io.write("state")),
        ];
        l.run(kernel, &bindings, params, grid_1d(layout.groups(rows)));
    }
}

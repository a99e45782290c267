use super::{Part, Spread};
use crate::launch::{GpuOp, Lower, Views, grid_1d};
use crate::shader::Kernel;

impl GpuOp for Spread {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let n = self.b * self.t;
        let params = [n as u32, self.t as u32, self.e as u32];
        l.run(
            Kernel::new("spread/spread_fwd").set("FIRST", self.part == Part::First),
            &[
                ("windows", io.read("windows")),
                ("v", io.read("v")),
                ("y", io.write("y")),
            ],
            params,
            grid_1d(n.div_ceil(256)),
        );
    }
}

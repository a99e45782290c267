use super::MesaStep;
use crate::launch::{GpuOp, Lower, Views, grid_1d};
use crate::shader::Kernel;

impl GpuOp for MesaStep {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let (q, k, v, g, beta, lambda) = (
            io.read("q"),
            io.read("k"),
            io.read("v"),
            io.read("g"),
            io.read("beta"),
            io.read("lambda"),
        );
        let (o, m, n) = (io.write("o"), io.write("m"), io.write("n"));
        let heads = self.b * self.h;
        let elements = heads * self.d * self.d;
        let kernel = Kernel::new("mesa_step/mesa_step_write_fwd");
        let params = [elements as u32, self.d as u32];
        l.run(
            kernel,
            &[("k", k), ("v", v), ("g", g), ("beta", beta), ("m", m), ("n", n)],
            params,
            grid_1d(elements.div_ceil(256)),
        );

        let kernel = Kernel::new("mesa_step/mesa_step_fwd").set("COLUMNS", self.d.next_power_of_two());
        let params = [heads as u32, self.h as u32, self.d as u32];
        l.run(
            kernel,
            &[("q", q), ("lambda", lambda), ("m", m), ("n", n), ("o", o)],
            params,
            grid_1d(heads),
        );
    }
}

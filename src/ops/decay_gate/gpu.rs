use super::{DecayGate, Form};
use crate::launch::{Bound, GpuOp, Lower, Views, grid_1d};
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
    writes: u32,
    strongest: f32,
    parts: u32,
}

impl DecayGate {
    fn params(&self, parts: usize) -> Params {
        Params {
            rows: self.rows as u32,
            h: self.h as u32,
            writes: self.writes as u32,
            strongest: self.strongest,
            parts: parts as u32,
        }
    }

    fn kernel(&self, kernel: Kernel) -> Kernel {
        kernel
            .set("RATES", self.form == Form::Rate)
            .set("WRITES", self.writes > 0)
    }

    /// y and both parameters.
    fn inputs(&self, io: &Views) -> Vec<Bound> {
        let of = match self.form {
            Form::Rate => ["a_log", "decay_bias"],
            Form::Biased => ["decay_bias", "write_bias"],
        };
        let parameters = of.into_iter().zip(self.parameters().map(|name| io.read(name)));
        [("y", io.read("y"))].into_iter().chain(parameters).collect()
    }
}

impl GpuOp for DecayGate {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let groups = (self.rows * self.width()).div_ceil(256);
        let mut bindings = self.inputs(io);
        bindings.push(("g", io.write("g")));
        bindings.extend(io.out_if("beta").map(|beta| ("beta", beta.view)));
        let kernel = self.kernel(Kernel::new("decay_gate/decay_gate_fwd"));
        l.run(kernel, &bindings, self.params(groups), grid_1d(groups));
    }

    fn gpu_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        let layout = Layout::new(self.width());
        let parts = layout.parts(self.rows);
        let grad_y = or_scratch(l, io.wanted("y"), io.read("y").len);
        let sums = [l.scratch(parts * self.h), l.scratch(parts * self.h)];
        let mut bindings = self.inputs(io);
        bindings.extend([
            ("grad_g", io.grad("g")),
            ("grad_y", grad_y),
            ("grad_first", sums[0]),
            ("grad_second", sums[1]),
        ]);
        if self.writes > 0 {
            bindings.push(("grad_beta", io.grad("beta")));
        }
        let kernel = self.kernel(layout.kernel("decay_gate/decay_gate_bwd"));
        l.run(kernel, &bindings, self.params(parts), grid_1d(parts));
        let wanted = self.parameters().map(|name| io.wanted(name));
        column_sums(l, &sums, parts, self.h, &wanted);
    }
}

use super::RecurrenceStep;
use crate::launch::{GpuOp, Lower, Views, grid_1d};
use crate::shader::Kernel;
use bytemuck::{Pod, Zeroable};

/// Columns of a workgroup, and threads of a column, as the kernel has them.
const COLUMNS: usize = 32;
const LANES: usize = 8;

/// Mirrors `Params` of the kernel.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    groups: u32,
    tiles: u32,
    h: u32,
    key_heads: u32,
    d_k: u32,
    d_v: u32,
    householder: u32,
    scale: f32,
}

impl GpuOp for RecurrenceStep {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let tiles = self.d_v.div_ceil(COLUMNS);
        let groups = self.b * self.h * tiles;
        let mut bindings = vec![
            ("q", io.read("q")),
            ("k", io.read("k")),
            ("v", io.read("v")),
            ("o", io.write("o")),
            ("state", io.write("state")),
        ];
        bindings.extend(io.read_if("beta").map(|beta| ("beta", beta)));
        bindings.extend(io.read_if("g").or(io.read_if("gk")).map(|g| ("g", g)));
        let kernel = Kernel::new("recurrence_step/recurrence_step_fwd")
            .set("PER", self.d_k.div_ceil(LANES))
            .set("DECAY", self.decay.number())
            .set("DELTA", self.delta)
            .set("BETA", self.beta);
        let params = Params {
            groups: groups as u32,
            tiles: tiles as u32,
            h: self.h as u32,
            key_heads: self.key_heads() as u32,
            d_k: self.d_k as u32,
            d_v: self.d_v as u32,
            householder: self.householder as u32,
            scale: self.scale,
        };
        l.run(kernel, &bindings, params, grid_1d(groups));
    }
}

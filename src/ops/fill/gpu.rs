use super::{Content, Fill};
use crate::launch::{GpuOp, Lower, Views, grid_1d};
use crate::shader::Kernel;
use bytemuck::{Pod, Zeroable};

/// Mirrors `Params` of the kernel.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
    heads: u32,
    value: f32,
}

impl GpuOp for Fill {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let (heads, value) = match self.content {
            Content::Constant(value) => (0, value),
            Content::Retention(heads) => (heads as u32, 0.0),
        };
        let params = Params {
            n: self.numel as u32,
            heads,
            value,
        };
        let grid = grid_1d(self.numel.div_ceil(256));
        l.run(
            Kernel::new("fill/fill_fwd"),
            &[("y", io.write("y"))],
            params,
            grid,
        );
    }
}

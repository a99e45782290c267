use super::Cast;
use crate::launch::{GpuOp, Lower, Views, grid_1d};
use crate::shader::Kernel;

/// Elements that a kernel is given at a time: it counts them in u32.
const MOST: usize = 1 << 31;
/// Parts begin at multiples of this: 256 bytes of f16.
const ALIGN: usize = 128;

impl GpuOp for Cast {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let most = usize::try_from(l.caps().binding_bytes / 4)
            .unwrap_or(usize::MAX)
            .min(MOST)
            / ALIGN
            * ALIGN;
        for start in (0..self.numel).step_by(most) {
            let n = most.min(self.numel - start);
            let vec = n.is_multiple_of(4);
            let n_quads = if vec { n / 4 } else { n };
            let bindings = [
                ("x", io.read("x").part(start, n)),
                ("y", io.write("y").part(start, n)),
            ];
            let kernel = Kernel::new("cast/cast_fwd").set("VEC", vec);
            l.run(
                kernel,
                &bindings,
                [n_quads as u32],
                grid_1d(n_quads.div_ceil(256)),
            );
        }
    }
}

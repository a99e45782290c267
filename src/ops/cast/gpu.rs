use super::Cast;
use crate::launch::{GpuOp, Lower, Views, grid_1d};
use crate::ops::rows::by_quads;

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
            let bindings = [
                ("x", io.read("x").part(start, n)),
                ("y", io.write("y").part(start, n)),
            ];
            let (kernel, threads) = by_quads("cast/cast_fwd", n, n);
            let grid = grid_1d(threads.div_ceil(256));
            l.run(kernel, &bindings, [threads as u32], grid);
        }
    }
}

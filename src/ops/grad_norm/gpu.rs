use super::{GROWTH, GradNorm, LARGEST_SCALE};
use crate::launch::{GpuOp, Lower, Views, grid_1d};
use crate::shader::Kernel;
use bytemuck::{Pod, Zeroable};

/// Elements that a kernel is given at a time: it counts them in u32.
const MOST: usize = 1 << 31;
/// Elements of one partial sum: 256 invocations with 16 each.
const PART: usize = 4096;

/// Mirrors `Params` of the second kernel.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    parts: u32,
    growth: f32,
    largest: f32,
}

impl GpuOp for GradNorm {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let parts = self.n.div_ceil(PART);
        let partial = l.scratch(parts);
        // Banks may be larger than a binding; all limits are multiples of PART elements.
        let most = usize::try_from(l.caps().binding_bytes / 4)
            .unwrap_or(usize::MAX)
            .min(MOST)
            / PART
            * PART;
        for start in (0..self.n).step_by(most) {
            let n = most.min(self.n - start);
            let kernel = Kernel::new("grad_norm/grad_norm_parts");
            let params = [n as u32, (start / PART) as u32];
            l.run(
                kernel,
                &[("g", io.read("g").part(start, n)), ("partial_sums", partial)],
                params,
                grid_1d(n.div_ceil(PART)),
            );
        }
        let kernel = Kernel::new("grad_norm/grad_norm_total").set("SCALED", self.scaled);
        let mut bindings = vec![("partial_sums", partial), ("stats", io.write("stats"))];
        if self.scaled {
            bindings.push(("scale", io.write("scale")));
        }
        let params = Params {
            parts: parts as u32,
            growth: GROWTH,
            largest: LARGEST_SCALE,
        };
        l.run(kernel, &bindings, params, [1, 1, 1]);
    }
}

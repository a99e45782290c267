use super::GradNorm;
use crate::launch::{GpuOp, Lower, Views, grid_1d};
use crate::shader::Kernel;

/// Elements that a kernel is given at a time: it counts them in u32.
const MOST: usize = 1 << 31;
/// Elements of one partial sum: 256 invocations with 16 each.
const PART: usize = 4096;

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
        let kernel = Kernel::new("grad_norm/grad_norm_total");
        l.run(
            kernel,
            &[("partial_sums", partial), ("stats", io.write("stats"))],
            [parts as u32],
            [1, 1, 1],
        );
    }
}

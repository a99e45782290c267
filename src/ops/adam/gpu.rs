use super::{Adam, BETA1, BETA2, EPS};
use crate::launch::{GpuOp, Lower, View, Views, grid_1d};
use crate::ops::rows::by_quads;
use bytemuck::{Pod, Zeroable};

/// Elements that a kernel is given at a time: it counts them in u32.
const MOST: usize = 1 << 31;

/// Mirrors `Params` of the kernel.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
    beta1: f32,
    alpha1: f32,
    beta2: f32,
    alpha2: f32,
    eps: f32,
}

impl GpuOp for Adam {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let most = usize::try_from(l.caps().binding_bytes / 4)
            .unwrap_or(usize::MAX)
            .min(MOST)
            / 64
            * 64;
        for start in (0..self.n).step_by(most) {
            let n = most.min(self.n - start);
            let part = |v: View| v.part(start, n);
            let views = [
                ("g", part(io.read("g"))),
                ("stats", io.read("stats")),
                ("p", part(io.write("p"))),
                ("m", part(io.write("m"))),
                ("v", part(io.write("v"))),
            ];
            let (kernel, threads) = by_quads("adam/adam_fwd", n, n);
            let params = Params {
                n: threads as u32,
                beta1: BETA1 as f32,
                alpha1: (1.0 - BETA1) as f32,
                beta2: BETA2 as f32,
                alpha2: (1.0 - BETA2) as f32,
                eps: EPS as f32,
            };
            l.run(kernel, &views, params, grid_1d(threads.div_ceil(256)));
        }
    }
}

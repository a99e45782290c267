use super::Gru;
use crate::launch::{GpuOp, GpuOut, Lower, Views};
use crate::ops::linear::gpu as linear;
use crate::ops::reduce::or_scratch;
use crate::port::Pass;
use crate::shader::Kernel;
use crate::variant::Variant;
use bytemuck::{Pod, Zeroable};

/// Threads along the columns of a workgroup, three columns each. Forward those are the gates of one channel; backward,
/// where the sums are three times as long, fewer columns make more workgroups.
const FORWARD: usize = 8;
const BACKWARD: usize = 4;
/// Terms of the sums that are staged at a time.
const DEPTH: usize = 64;

/// Mirrors `Params` of both kernels.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    t: u32,
    d: u32,
    step: u32,
}

impl Gru {
    fn params(&self, step: usize) -> Params {
        Params {
            b: self.b as u32,
            t: self.t as u32,
            d: self.d as u32,
            step: step as u32,
        }
    }

    /// Quads of sequences of a workgroup: no more than there are.
    fn quads(&self) -> usize {
        self.b.div_ceil(4).next_power_of_two().min(8)
    }

    fn kernel(&self, path: &'static str, lanes: usize) -> Kernel {
        let quads = self.quads();
        Kernel::new(path)
            .set("QUADS", quads)
            .set("LANES", lanes)
            .set("DEPTH", DEPTH)
            .set("POOL", (DEPTH * (quads + 1)).max(384))
    }

    fn grid(&self, channels: usize) -> [u32; 3] {
        let rows = self.b.div_ceil(4 * self.quads());
        [self.d.div_ceil(channels) as u32, rows as u32, 1]
    }
}

impl GpuOp for Gru {
    /// Those of the products over all steps that backward has; forward has none, and is the same in both.
    const VARIANTS: &'static [Variant] = linear::VARIANTS;

    fn takes(&self, variant: &Variant, _pass: Pass, _io: &Views) -> bool {
        !variant.needs.coop || self.product(self.b * self.t).fills_tile()
    }

    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let bindings = [
            ("xg", io.read("xg")),
            ("w", io.read("weight_hh")),
            ("bias", io.read("bias_hh")),
            ("h", io.write("h")),
        ];
        let kernel = self.kernel("gru/gru_fwd", FORWARD);
        for step in 0..self.t {
            l.run(kernel.clone(), &bindings, self.params(step), self.grid(FORWARD));
        }
    }

    fn gpu_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        let (xg, w, bias) = (io.read("xg"), io.read("weight_hh"), io.read("bias_hh"));
        let (h, grad_y) = (io.read("h"), io.grad("h"));
        let (b, t, d) = (self.b, self.t, self.d);
        let all = l.scratch(b * (t + 1) * 3 * d);
        let g = all.part(0, b * t * 3 * d);
        let carry = l.scratch(b * d);
        let grad_xg = or_scratch(l, io.wanted("xg"), xg.len);
        let s = GpuOut::new(g);
        linear::fwd(l, &self.product(b * t), h, w, Some(bias), s);
        let bindings = [
            ("grad_y", grad_y),
            ("xg", xg),
            ("h", h),
            ("w", w),
            ("bias", bias),
            ("g", all),
            ("carry", carry),
            ("grad_xg", grad_xg),
        ];
        let kernel = self.kernel("gru/gru_bwd", BACKWARD).set("BY_COLUMN", true);
        for step in (0..t).rev() {
            l.run(
                kernel.clone(),
                &bindings,
                self.params(step),
                self.grid(3 * BACKWARD),
            );
        }
        if let Some(grad_w) = io.wanted("weight_hh") {
            linear::grad_w(l, &self.product(b * t), g, h, grad_w);
        }
        if let Some(grad_b) = io.wanted("bias_hh") {
            linear::grad_b(l, &self.product(b * (t + 1)), all, grad_b);
        }
    }
}

use super::{ShortConv, WIDTH};
use crate::launch::{GpuOp, grid_1d};
use crate::launch::{GpuOut, Lower, View};
use crate::ops::reduce::{MAX_PARTS, column_sum, or_scratch};
use crate::shader::Kernel;
use bytemuck::{Pod, Zeroable};

/// Steps of a thread, forward. It reads three more.
const STEPS_FWD: usize = 16;
/// Steps of a thread, backward. It reads six more, and recomputes three.
const STEPS_BWD: usize = 32;
/// Threads that fill a large GPU: more partial sums than that would only cost memory.
const THREADS: usize = 1 << 18;

/// Mirrors `Params` of both kernels.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    units: u32,
    blocks: u32,
    t: u32,
    channels: u32,
    parts: u32,
}

impl ShortConv {
    fn units(&self, steps: usize) -> usize {
        self.b * self.t.div_ceil(steps)
    }

    fn params(&self, steps: usize, parts: usize) -> Params {
        Params {
            units: self.units(steps) as u32,
            blocks: self.t.div_ceil(steps) as u32,
            t: self.t as u32,
            channels: self.channels as u32,
            parts: parts as u32,
        }
    }

    fn kernel(&self, path: &'static str, steps: usize) -> Kernel {
        Kernel::new(path).set("STEPS", steps).set("BIAS", self.bias)
    }
}

impl GpuOp for ShortConv {
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        let units = self.units(STEPS_FWD);
        let mut bindings = ins.to_vec();
        bindings.push(outs[0].view);
        let kernel = self.kernel("short_conv/short_conv_fwd", STEPS_FWD);
        let grid = grid_1d((units * self.channels).div_ceil(256));
        l.run(kernel, &bindings, self.params(STEPS_FWD, units), grid);
    }

    fn gpu_bwd(
        &self,
        l: &mut Lower<'_>,
        ins: &[Option<View>],
        _outs: &[Option<View>],
        d_outs: &[Option<View>],
        d_ins: &[Option<GpuOut>],
    ) {
        let (Some(x), Some(w), Some(dy)) = (ins[0], ins[1], d_outs[0]) else {
            return;
        };
        let n = self.channels;
        let parts = (THREADS / n).clamp(1, MAX_PARTS).min(self.units(STEPS_BWD));
        let dx = or_scratch(l, d_ins[0], x.len);
        let dw = l.scratch(parts * n * WIDTH);
        let mut bindings = vec![x, w, dy, dx, dw];
        if self.bias {
            let Some(b) = ins[2] else { return };
            bindings.extend([b, l.scratch(parts * n)]);
        }
        let kernel = self.kernel("short_conv/short_conv_bwd", STEPS_BWD);
        let grid = grid_1d((parts * n).div_ceil(256));
        l.run(kernel, &bindings, self.params(STEPS_BWD, parts), grid);
        if let Some(out) = d_ins[1] {
            column_sum(l, dw, parts, n * WIDTH, out);
        }
        if self.bias
            && let Some(out) = d_ins[2]
        {
            column_sum(l, bindings[6], parts, n, out);
        }
    }
}

use super::{ShortConv, WIDTH};
use crate::launch::{GpuOp, Lower, View, Views, grid_1d};
use crate::ops::reduce::{MAX_PARTS, column_sum, or_scratch};
use crate::shader::Kernel;
use crate::tensor::Dtype;
use bytemuck::{Pod, Zeroable};

/// Steps of a thread, forward. It reads three more.
const RUN_FWD: usize = 16;
/// Threads of the backward pass: more cost more for their partial sums than they gain on a large GPU.
const ITEMS: usize = 1 << 16;

/// Mirrors `Params` of both kernels.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    units: u32,
    run: u32,
    blocks: u32,
    t: u32,
    groups: u32,
    parts: u32,
}

impl ShortConv {
    fn units(&self, run: usize) -> usize {
        self.b * self.t.div_ceil(run)
    }

    fn params(&self, run: usize, parts: usize, width: usize) -> Params {
        Params {
            units: self.units(run) as u32,
            run: run as u32,
            blocks: self.t.div_ceil(run) as u32,
            t: self.t as u32,
            groups: (self.channels / width) as u32,
            parts: parts as u32,
        }
    }

    /// Channels of a thread: four where that saves loads. A CPU in the place of a GPU gains only by fewer bytes.
    fn width(&self, l: &Lower<'_>, x: View) -> usize {
        let gains = x.dtype == Dtype::F16 || !l.caps().software;
        if gains && self.channels.is_multiple_of(4) {
            4
        } else {
            1
        }
    }

    fn kernel(&self, path: &'static str, width: usize, x: View) -> Kernel {
        let kernel = Kernel::new(path).set("BIAS", self.bias);
        kernel
            .set("WIDE", width > 1)
            .set("ROUNDED", x.dtype == Dtype::F16)
    }
}

impl GpuOp for ShortConv {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let units = self.units(RUN_FWD);
        let width = self.width(l, io.read("x"));
        let mut bindings = vec![("x", io.read("x")), ("w", io.read("w")), ("y", io.write("y"))];
        bindings.extend(io.read_if("b").map(|b| ("b", b)));
        let kernel = self.kernel("short_conv/short_conv_fwd", width, io.read("x"));
        let grid = grid_1d((units * self.channels / width).div_ceil(256));
        l.run(kernel, &bindings, self.params(RUN_FWD, units, width), grid);
    }

    fn gpu_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        let (x, w, grad_y) = (io.read("x"), io.read("w"), io.grad("y"));
        let n = self.channels;
        let width = self.width(l, x);
        // As many units for every thread, one if there are few sequences: a unit reads six steps more than it has and computes
        // three, so it ends where both are whole groups of four.
        let parts = (ITEMS * width / n).clamp(1, MAX_PARTS);
        let run = self.t.div_ceil(parts.div_ceil(self.b)).next_multiple_of(4) + 1;
        let units = self.units(run);
        let parts = units.div_ceil(units.div_ceil(parts));
        let grad_x = or_scratch(l, io.wanted("x"), x.len);
        let grad_w = l.scratch(parts * n * WIDTH);
        let mut bindings = vec![
            ("x", x),
            ("w", w),
            ("grad_y", grad_y),
            ("grad_x", grad_x),
            ("grad_w", grad_w),
        ];
        let grad_b = io.read_if("b").map(|b| {
            let sums = l.scratch(parts * n);
            bindings.extend([("b", b), ("grad_b", sums)]);
            sums
        });
        let kernel = self.kernel("short_conv/short_conv_bwd", width, x);
        let grid = grid_1d((parts * n / width).div_ceil(256));
        l.run(kernel, &bindings, self.params(run, parts, width), grid);
        if let Some(out) = io.wanted("w") {
            column_sum(l, grad_w, parts, n * WIDTH, out);
        }
        if let (Some(sums), Some(out)) = (grad_b, io.wanted("b")) {
            column_sum(l, sums, parts, n, out);
        }
    }
}

use super::{MAX_D, Rope};
use crate::launch::{GpuOp, Lower, View, Views, grid_1d};
use crate::shader::Kernel;
use bytemuck::{Pod, Zeroable};

/// Mirrors `Params` of the kernel.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
    t: u32,
    h: u32,
    quads: u32,
    direction: f32,
    pad: [u32; 3],
    /// Turns a step of each pair as a 64-bit fraction, upper and lower half; two pairs a vector.
    turns: [u32; MAX_D],
}

impl GpuOp for Rope {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let position = io.read_if("position");
        self.launch(l, self.direction, io.read("x"), position, io.write("y"));
    }

    fn gpu_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        if let Some(grad_x) = io.wanted("x") {
            let position = io.read_if("position");
            self.launch(l, -self.direction, io.grad("y"), position, grad_x.view);
        }
    }
}

impl Rope {
    fn launch(&self, l: &mut Lower<'_>, direction: i32, x: View, position: Option<View>, y: View) {
        // Four pairs a thread where both halves of a row start at a multiple of 16 bytes.
        let wide = self.d.is_multiple_of(8);
        let quads = self.d / if wide { 8 } else { 2 };
        let n = self.b * self.t * quads;
        let mut turns = [0; MAX_D];
        for (i, pair) in turns.chunks_mut(2).take(self.d / 2).enumerate() {
            let fraction = self.turn_fraction(i);
            pair.copy_from_slice(&[(fraction >> 32) as u32, fraction as u32]);
        }
        let params = Params {
            n: n as u32,
            t: self.t as u32,
            h: self.h as u32,
            quads: quads as u32,
            direction: direction as f32,
            pad: [0; 3],
            turns,
        };
        let kernel = Kernel::new("rope/rope_fwd")
            .set("WIDE", wide)
            .set("POSITION", position.is_some());
        let mut bindings = vec![("x", x), ("y", y)];
        bindings.extend(position.map(|position| ("position", position)));
        l.run(kernel, &bindings, params, grid_1d(n.div_ceil(256)));
    }

    /// Turns a step of pair `i`, below 1 / 2 pi, times 2^64: f64 has 53 bits of it, enough for 2^-32 turns at t 2^18.
    fn turn_fraction(&self, i: usize) -> u64 {
        (self.frequency(i) / std::f64::consts::TAU * 2f64.powi(64)) as u64
    }
}

use super::{Noise, OneHot};
use crate::launch::{GpuOp, Lower, Views, grid_1d};
use crate::philox::NOISE_KEY;
use crate::shader::{Kernel, Value};
use bytemuck::{Pod, Zeroable};

/// Mirrors `Params` of the kernel with noise.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    vocab: u32,
    groups: u32,
    t: u32,
    level: f32,
}

impl GpuOp for OneHot {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let (symbols, u) = (("symbols", io.read("symbols")), ("u", io.write("u")));
        let (t, level) = match self.noise {
            Noise::None => {
                let n = self.rows * self.vocab;
                let params = [n as u32, self.vocab as u32];
                let kernel = Kernel::new("one_hot/one_hot_fwd");
                return l.run(kernel, &[symbols, u], params, grid_1d(n.div_ceil(256)));
            }
            Noise::Philox { t, level } => (t, level),
            Noise::Given { level } => (self.rows, level),
        };
        let noise = match self.noise {
            Noise::Given { .. } => ("n", io.read("n")),
            _ => ("samples", io.read("samples")),
        };
        let groups = self.vocab.div_ceil(4);
        let params = Params {
            rows: self.rows as u32,
            vocab: self.vocab as u32,
            groups: groups as u32,
            t: t as u32,
            level,
        };
        let kernel = Kernel::new("one_hot/one_hot_noise_fwd")
            .set("GIVEN", matches!(self.noise, Noise::Given { .. }))
            .set("NOISE_KEY", Value::U32(NOISE_KEY));
        l.run(
            kernel,
            &[symbols, noise, u],
            params,
            grid_1d((self.rows * groups).div_ceil(256)),
        );
    }
}

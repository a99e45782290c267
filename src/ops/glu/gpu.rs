use super::Glu;
use crate::launch::{GpuOp, grid_1d};
use crate::launch::{GpuOut, Lower, View};
use crate::shader::Kernel;
use bytemuck::{Pod, Zeroable};

/// Mirrors `Params` of both kernels.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
    d: u32,
}

impl Glu {
    fn launch(&self, l: &mut Lower<'_>, path: &'static str, bindings: &[View]) {
        let n = self.rows * self.d;
        let params = Params {
            n: n as u32,
            d: self.d as u32,
        };
        l.run(Kernel::new(path), bindings, params, grid_1d(n.div_ceil(256)));
    }
}

impl GpuOp for Glu {
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        self.launch(l, "glu/glu_fwd", &[ins[0], outs[0].view]);
    }

    fn gpu_bwd(
        &self,
        l: &mut Lower<'_>,
        ins: &[Option<View>],
        _outs: &[Option<View>],
        grad_outs: &[Option<View>],
        grad_ins: &[Option<GpuOut>],
    ) {
        if let (Some(x), Some(grad_y), Some(grad_x)) = (ins[0], grad_outs[0], grad_ins[0]) {
            self.launch(l, "glu/glu_bwd", &[x, grad_y, grad_x.view]);
        }
    }
}

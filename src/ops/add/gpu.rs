use super::Add;
use crate::launch::{GpuOp, grid_1d};
use crate::launch::{GpuOut, Lower, View};
use crate::shader::Kernel;

impl GpuOp for Add {
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        let grid = grid_1d(self.numel.div_ceil(256));
        l.run(
            Kernel::new("add/add_fwd"),
            &[ins[0], outs[0].view],
            [self.numel as u32],
            grid,
        );
    }

    fn gpu_bwd(
        &self,
        _l: &mut Lower<'_>,
        _ins: &[Option<View>],
        _outs: &[Option<View>],
        _d_outs: &[Option<View>],
        _d_ins: &[Option<GpuOut>],
    ) {
        unreachable!("`add` has no gradients: it only occurs in backward passes");
    }
}

use super::OneHot;
use crate::launch::{GpuOp, grid_1d};
use crate::launch::{GpuOut, Lower, View};
use crate::shader::Kernel;

impl GpuOp for OneHot {
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        let n = self.rows * self.vocab;
        let params = [n as u32, self.vocab as u32];
        l.run(
            Kernel::new("one_hot/one_hot_fwd"),
            &[ins[0], outs[0].view],
            params,
            grid_1d(n.div_ceil(256)),
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
        unreachable!("symbols have no gradient");
    }
}

use super::{Part, Spread};
use crate::launch::{GpuOp, grid_1d};
use crate::launch::{GpuOut, Lower, View};
use crate::shader::Kernel;

impl GpuOp for Spread {
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        let n = self.b * self.t;
        let params = [n as u32, self.t as u32, self.e as u32];
        l.run(
            Kernel::new("spread/spread_fwd").set("FIRST", self.part == Part::First),
            &[ins[0], ins[1], outs[0].view],
            params,
            grid_1d(n.div_ceil(256)),
        );
    }

    fn gpu_bwd(
        &self,
        _l: &mut Lower<'_>,
        _ins: &[Option<View>],
        _outs: &[Option<View>],
        _grad_outs: &[Option<View>],
        _grad_ins: &[Option<GpuOut>],
    ) {
        unreachable!("integers have no gradient");
    }
}

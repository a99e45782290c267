use super::CrossEntropy;
use crate::launch::{GpuOp, grid_1d};
use crate::launch::{GpuOut, Lower, View};
use crate::shader::Kernel;

/// lse and negative log-likelihood of every row.
pub(crate) fn rows(l: &mut Lower<'_>, op: &CrossEntropy, z: View, labels: View, lse: View, nll: View) {
    let params = [op.rows as u32, op.classes as u32];
    l.run(
        Kernel::new("cross_entropy/cross_entropy_rows"),
        &[z, labels, lse, nll],
        params,
        grid_1d(op.rows),
    );
}

/// The gradient of the logits; `grad_z` may be `z`'s own place only through [`gradient_in_place`].
pub(crate) fn gradient_in_place(l: &mut Lower<'_>, op: &CrossEntropy, z: View, labels: View, lse: View) {
    let kernel = Kernel::new("cross_entropy/cross_entropy_bwd").set("IN_PLACE", true);
    let params = [op.rows as u32, op.classes as u32];
    l.run(
        kernel,
        &[z, labels, lse],
        params,
        grid_1d((op.rows * op.classes).div_ceil(256)),
    );
}

impl GpuOp for CrossEntropy {
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        let (loss, lse, nll) = (outs[0].view, outs[1].view, outs[2].view);
        rows(l, self, ins[0], ins[1], lse, nll);
        l.run(
            Kernel::new("cross_entropy/cross_entropy_loss"),
            &[nll, loss],
            [self.rows as u32],
            [1, 1, 1],
        );
    }

    fn gpu_bwd(
        &self,
        l: &mut Lower<'_>,
        ins: &[Option<View>],
        outs: &[Option<View>],
        grad_outs: &[Option<View>],
        grad_ins: &[Option<GpuOut>],
    ) {
        let (Some(z), Some(labels), Some(lse), Some(dloss), Some(grad_z)) =
            (ins[0], ins[1], outs[1], grad_outs[0], grad_ins[0])
        else {
            return;
        };
        let params = [self.rows as u32, self.classes as u32];
        let grid = grid_1d((self.rows * self.classes).div_ceil(256));
        l.run(
            Kernel::new("cross_entropy/cross_entropy_bwd"),
            &[z, labels, lse, dloss, grad_z.view],
            params,
            grid,
        );
    }
}

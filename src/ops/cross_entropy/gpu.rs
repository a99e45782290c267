use super::CrossEntropy;
use crate::launch::{GpuOp, Lower, View, Views, grid_1d};
use crate::shader::Kernel;

/// lse and negative log-likelihood of every row.
pub(crate) fn rows(l: &mut Lower<'_>, op: &CrossEntropy, z: View, labels: View, lse: View, nll: View) {
    let params = [op.rows as u32, op.classes as u32];
    l.run(
        Kernel::new("cross_entropy/cross_entropy_rows"),
        &[("z", z), ("labels", labels), ("lse", lse), ("nll", nll)],
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
        &[("z", z), ("labels", labels), ("lse", lse)],
        params,
        grid_1d((op.rows * op.classes).div_ceil(256)),
    );
}

impl GpuOp for CrossEntropy {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let (loss, lse, nll) = (io.write("loss"), io.write("lse"), io.write("nll"));
        rows(l, self, io.read("logits"), io.read("labels"), lse, nll);
        l.run(
            Kernel::new("cross_entropy/cross_entropy_loss"),
            &[("nll", nll), ("loss", loss)],
            [self.rows as u32],
            [1, 1, 1],
        );
    }

    fn gpu_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        let Some(grad_z) = io.wanted("logits") else { return };
        let (z, labels, lse, dloss) = (
            io.read("logits"),
            io.read("labels"),
            io.read("lse"),
            io.grad("loss"),
        );
        let params = [self.rows as u32, self.classes as u32];
        let grid = grid_1d((self.rows * self.classes).div_ceil(256));
        l.run(
            Kernel::new("cross_entropy/cross_entropy_bwd"),
            &[
                ("z", z),
                ("labels", labels),
                ("lse", lse),
                ("dloss", dloss),
                ("grad_z", grad_z.view),
            ],
            params,
            grid,
        );
    }
}

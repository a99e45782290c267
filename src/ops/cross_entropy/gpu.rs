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

/// What a gradient is times of, and where it goes.
pub(crate) struct Gradient {
    /// dloss, or the loss scale: the first of its values; 1 without.
    pub factor: Option<View>,
    /// `None`: the place of the logits. Its rows may be longer than those: zeros are put behind them.
    pub to: Option<View>,
}

/// The gradient of the logits.
pub(crate) fn gradient(
    l: &mut Lower<'_>,
    op: &CrossEntropy,
    z: View,
    labels: View,
    lse: View,
    Gradient { factor, to }: Gradient,
) {
    let kernel = Kernel::new("cross_entropy/cross_entropy_bwd")
        .set("IN_PLACE", to.is_none())
        .set("FACTOR", factor.is_some());
    let mut bindings = vec![("z", z), ("labels", labels), ("lse", lse)];
    bindings.extend(factor.map(|factor| ("dloss", factor)));
    bindings.extend(to.map(|to| ("grad_z", to)));
    let row = to.map_or(op.classes, |to| to.len / op.rows);
    let params = [op.rows, op.classes, row].map(|n| n as u32);
    l.run(kernel, &bindings, params, grid_1d((op.rows * row).div_ceil(256)));
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
        let to = Gradient {
            factor: Some(dloss),
            to: Some(grad_z.view),
        };
        gradient(l, self, z, labels, lse, to);
    }
}

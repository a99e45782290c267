use super::CrossEntropy;
use crate::launch::{Bound, GpuOp, Lower, View, Views, grid_1d};
use crate::shader::Kernel;

/// lse and negative log-likelihood of every row, which may be longer than the classes; the gradient of the logits in the same pass, if it has a place of its own.
pub(crate) fn rows(
    l: &mut Lower<'_>,
    op: &CrossEntropy,
    z: View,
    labels: View,
    lse: View,
    nll: View,
    gradient: Option<Gradient>,
) {
    let mut bindings = vec![("z", z), ("labels", labels), ("lse", lse), ("nll", nll)];
    let kernel = Kernel::new("cross_entropy/cross_entropy_rows").set("GRADIENT", gradient.is_some());
    let (kernel, row) = with_gradient(kernel, op, &mut bindings, gradient);
    let z_row = z.len / op.rows;
    let kernel = kernel.set("WIDE", row.is_multiple_of(4) && z_row.is_multiple_of(4));
    let params = [op.rows, op.classes, row, z_row].map(|n| n as u32);
    l.run(kernel, &bindings, params, grid_1d(op.rows));
}

/// What a gradient is times of, and where it goes.
#[derive(Clone, Copy)]
pub(crate) struct Gradient {
    /// dloss, or the loss scale: the first of its values; 1 without.
    pub factor: Option<View>,
    /// Its rows may be longer than the classes: zeros are put behind them.
    pub to: View,
}

/// The kernel with what it binds for a gradient, and the elements of a row of that.
fn with_gradient(
    kernel: Kernel,
    op: &CrossEntropy,
    bindings: &mut Vec<Bound>,
    gradient: Option<Gradient>,
) -> (Kernel, usize) {
    let Some(Gradient { factor, to }) = gradient else {
        return (kernel, op.classes);
    };
    bindings.push(("grad_z", to));
    bindings.extend(factor.map(|factor| ("dloss", factor)));
    (kernel.set("FACTOR", factor.is_some()), to.len / op.rows)
}

impl GpuOp for CrossEntropy {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let (loss, lse, nll) = (io.write("loss"), io.write("lse"), io.write("nll"));
        rows(l, self, io.read("logits"), io.read("labels"), lse, nll, None);
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
        let mut bindings = vec![("z", z), ("labels", labels), ("lse", lse)];
        let gradient = Gradient {
            factor: Some(dloss),
            to: grad_z.view,
        };
        let kernel = Kernel::new("cross_entropy/cross_entropy_bwd");
        let (kernel, row) = with_gradient(kernel, self, &mut bindings, Some(gradient));
        let params = [self.rows, self.classes, row, self.classes].map(|n| n as u32);
        l.run(
            kernel,
            &bindings,
            params,
            grid_1d((self.rows * row).div_ceil(256)),
        );
    }
}

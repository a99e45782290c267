use super::WindowAccuracy;
use crate::launch::{GpuOp, Lower, View, Views, grid_1d};
use crate::shader::Kernel;

/// Predictions of the windows of `op.b` sequences, which start at sequence `first` of `windows` and `predictions`;
/// `z`, whose rows may be longer than the classes, and `lse` hold the rows of just these sequences.
pub(crate) fn predict(
    l: &mut Lower<'_>,
    op: &WindowAccuracy,
    first: usize,
    [z, lse, windows, predictions]: [View; 4],
) {
    let z_row = z.len / (op.b * op.t);
    let params = [
        op.t as u32,
        op.e as u32,
        op.classes as u32,
        (op.b * op.e) as u32,
        (first * op.e) as u32,
        z_row as u32,
    ];
    let kernel = Kernel::new("window_accuracy/window_accuracy_predict").set("WIDE", z_row.is_multiple_of(4));
    l.run(
        kernel,
        &[
            ("z", z),
            ("lse", lse),
            ("windows", windows),
            ("predictions", predictions),
        ],
        params,
        grid_1d(op.b * op.e),
    );
}

impl GpuOp for WindowAccuracy {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let (predictions, counts) = (io.write("predictions"), io.write("counts"));
        predict(
            l,
            self,
            0,
            [io.read("logits"), io.read("lse"), io.read("windows"), predictions],
        );
        let params = [(self.b * self.e) as u32];
        let kernel = Kernel::new("window_accuracy/window_accuracy_count");
        l.run(
            kernel,
            &[
                ("windows", io.read("windows")),
                ("labels", io.read("window_labels")),
                ("predictions", predictions),
                ("counts", counts),
            ],
            params,
            [1, 1, 1],
        );
    }
}

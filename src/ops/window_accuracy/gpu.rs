use super::WindowAccuracy;
use crate::launch::{GpuOp, grid_1d};
use crate::launch::{GpuOut, Lower, View};
use crate::shader::Kernel;

/// Predictions of the windows of `op.b` sequences, which start at sequence `first` of `windows` and `predictions`;
/// `z` and `lse` hold the rows of just these sequences.
pub(crate) fn predict(
    l: &mut Lower<'_>,
    op: &WindowAccuracy,
    first: usize,
    [z, lse, windows, predictions]: [View; 4],
) {
    let params = [
        op.t as u32,
        op.e as u32,
        op.classes as u32,
        (op.b * op.e) as u32,
        (first * op.e) as u32,
    ];
    let kernel = Kernel::new("window_accuracy/window_accuracy_predict");
    l.run(
        kernel,
        &[z, lse, windows, predictions],
        params,
        grid_1d(op.b * op.e),
    );
}

impl GpuOp for WindowAccuracy {
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        let (predictions, counts) = (outs[0].view, outs[1].view);
        predict(l, self, 0, [ins[0], ins[1], ins[2], predictions]);
        let params = [(self.b * self.e) as u32];
        let kernel = Kernel::new("window_accuracy/window_accuracy_count");
        l.run(kernel, &[ins[2], ins[3], predictions, counts], params, [1, 1, 1]);
    }

    fn gpu_bwd(
        &self,
        _l: &mut Lower<'_>,
        _ins: &[Option<View>],
        _outs: &[Option<View>],
        _d_outs: &[Option<View>],
        _d_ins: &[Option<GpuOut>],
    ) {
        unreachable!("an accuracy has no gradient");
    }
}

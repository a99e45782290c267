use super::HeadLoss;
use crate::launch::GpuOp;
use crate::launch::{GpuOut, Lower, View};
use crate::ops::{cross_entropy, linear, window_accuracy};
use crate::shader::Kernel;

impl GpuOp for HeadLoss {
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        let [x, w, b, labels, windows, window_labels] = *ins else {
            unreachable!("six input ports")
        };
        let (predictions, stats) = (outs[0].view, outs[1].view);
        let most = self.piece() * self.t;
        let z = l.scratch(most * self.classes);
        let (lse, nll) = (l.scratch(most), l.scratch(self.b * self.t));
        for (i, (first, n)) in self.pieces().into_iter().enumerate() {
            let (linear, ce) = (self.linear(n), self.cross_entropy(n));
            let (row0, rows) = (first * self.t, linear.rows);
            let (x, labels) = (x.part(row0 * self.d, rows * self.d), labels.part(row0, rows));
            let (z, lse, nll) = (
                z.part(0, rows * self.classes),
                lse.part(0, rows),
                nll.part(row0, rows),
            );
            linear::gpu::fwd(
                l,
                &linear,
                x,
                w,
                Some(b),
                GpuOut {
                    view: z,
                    accumulate: false,
                },
            );
            l.written(z);
            cross_entropy::gpu::rows(l, &ce, z, labels, lse, nll);
            window_accuracy::gpu::predict(l, &self.accuracy(n), first, [z, lse, windows, predictions]);
            if let [grad_x, grad_w, grad_b] = &outs[2..] {
                cross_entropy::gpu::gradient_in_place(l, &ce, z, labels, lse);
                l.written(z);
                let grad_x = GpuOut {
                    view: grad_x.view.part(row0 * self.d, rows * self.d),
                    accumulate: false,
                };
                let add = |out: &GpuOut| GpuOut {
                    accumulate: out.accumulate || i > 0,
                    ..*out
                };
                linear::gpu::grad_x(l, &linear, z, w, grad_x);
                linear::gpu::grad_w(l, &linear, z, x, add(grad_w));
                linear::gpu::grad_b(l, &linear, z, add(grad_b));
            }
        }
        let params = [(self.b * self.t) as u32, (self.b * self.e) as u32];
        let kernel = Kernel::new("head_loss/head_loss_stats");
        l.run(
            kernel,
            &[nll, windows, window_labels, predictions, stats],
            params,
            [1, 1, 1],
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
        unreachable!("the forward call computes the gradients");
    }
}

use super::HeadLoss;
use crate::launch::{GpuOp, GpuOut, Lower, Views};
use crate::ops::{cross_entropy, linear, window_accuracy};
use crate::port::Pass;
use crate::shader::Kernel;
use crate::variant::Variant;

impl GpuOp for HeadLoss {
    /// Those of the products that it is made of.
    const VARIANTS: &'static [Variant] = linear::gpu::VARIANTS;

    fn takes(&self, variant: &Variant, _pass: Pass, _io: &Views) -> bool {
        !variant.needs.coop || self.linear(self.b).fills_tile()
    }

    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let (x, w, b) = (io.read("x"), io.read("w"), io.read("b"));
        let (labels, windows) = (io.read("labels"), io.read("windows"));
        let (predictions, stats) = (io.write("predictions"), io.write("stats"));
        let parts = [Some(x), io.out_if("grad_x").map(|out| out.view)];
        let narrowest = parts.iter().flatten().map(|view| view.dtype.bytes()).min();
        let align = 256 / narrowest.unwrap_or(4);
        let most = self.piece(align) * self.t;
        // In mixed precision products take gradients in f16; the logits before them stay f32.
        let z = l.scratch(most * self.row());
        let grad_z = self.train.then(|| l.scratch_of(w.dtype, most * self.row()));
        let (lse, nll) = (l.scratch(most), l.scratch(self.b * self.t));
        for (i, (first, n)) in self.pieces(align).into_iter().enumerate() {
            let (linear, ce) = (self.linear(n), self.cross_entropy(n));
            let (row0, rows) = (first * self.t, linear.rows);
            let (x, labels) = (x.part(row0 * self.d, rows * self.d), labels.part(row0, rows));
            let (z, lse, nll) = (
                z.part(0, rows * self.row()),
                lse.part(0, rows),
                nll.part(row0, rows),
            );
            linear::gpu::fwd(l, &linear, x, w, Some(b), GpuOut::new(z));
            let factor = io.read_if("scale");
            let grad_z = grad_z.map(|all| all.part(0, rows * self.row()));
            let gradient = grad_z.map(|to| cross_entropy::gpu::Gradient { factor, to });
            cross_entropy::gpu::rows(l, &ce, z, labels, lse, nll, gradient);
            window_accuracy::gpu::predict(l, &self.accuracy(n), first, [z, lse, windows, predictions]);
            if let Some(grad_z) = grad_z {
                let grad_x = io.write("grad_x").part(row0 * self.d, rows * self.d);
                let add = |name: &str| {
                    let out = io.out(name);
                    let accumulate = out.accumulate || i > 0;
                    GpuOut { accumulate, ..out }
                };
                linear::gpu::grad_x(l, &linear, grad_z, w, GpuOut::new(grad_x));
                linear::gpu::grad_w(l, &linear, grad_z, x, add("grad_w"));
                linear::gpu::grad_b(l, &linear, grad_z, add("grad_b"));
            }
        }
        let params = [(self.b * self.t) as u32, (self.b * self.e) as u32];
        let kernel = Kernel::new("head_loss/head_loss_stats");
        l.run(
            kernel,
            &[
                ("nll", nll),
                ("windows", windows),
                ("labels", io.read("window_labels")),
                ("predictions", predictions),
                ("stats", stats),
            ],
            params,
            [1, 1, 1],
        );
    }
}

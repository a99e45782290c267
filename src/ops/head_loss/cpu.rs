use super::{FILLED, HeadLoss, LOSS, RIGHT, RIGHT_ALL};
use crate::ops::window_accuracy::cpu as accuracy;
use crate::ops::{cross_entropy, linear};
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};

impl CpuOp for HeadLoss {
    fn cpu_fwd<R: Real>(&self, step: &StepParams, mut io: Slices<'_, R>) {
        let (x, w, b) = (io.read("x"), io.read("w"), io.read("b"));
        let (labels, windows, window_labels) = (io.int("labels"), io.int("windows"), io.int("window_labels"));
        let inv_tokens = R::of(f64::from(step.inv_tokens));
        let weight = match self.scaled {
            true => inv_tokens * io.read("scale")[0],
            false => inv_tokens,
        };
        let predictions = io.write_int("predictions");
        let mut grads = self
            .train
            .then(|| (io.write("grad_x"), io.added("grad_w"), io.added("grad_b")));
        let most = self.piece(64) * self.t;
        let (mut z, mut share, mut nll) = (
            vec![R::ZERO; most * self.classes],
            vec![R::ZERO; most],
            vec![R::ZERO; most],
        );
        let mut loss = 0.0;
        for (first, n) in self.pieces(64) {
            let linear = self.linear(n);
            let rows = linear.rows;
            let (row0, labels) = (first * self.t, &labels[first * self.t..first * self.t + rows]);
            let x = &x[row0 * self.d..(row0 + rows) * self.d];
            let (z, share, nll) = (
                &mut z[..rows * self.classes],
                &mut share[..rows],
                &mut nll[..rows],
            );
            linear::cpu::fwd(&linear, x, w, Some(b), z);
            cross_entropy::cpu::shares(self.classes, z, labels, share, nll);
            loss += cross_entropy::cpu::total(nll);
            let (e0, e1) = (first * self.e, (first + n) * self.e);
            accuracy::predict(
                &self.accuracy(n),
                z,
                share,
                &windows[2 * e0..2 * e1],
                &mut predictions[e0..e1],
                #[inline(always)]
                |e, share| e * share,
            );
            if let Some((grad_x, grad_w, grad_b)) = &mut grads {
                cross_entropy::cpu::gradient_of_shares(self.classes, z, labels, share, weight);
                let grad_x = &mut grad_x[row0 * self.d..(row0 + rows) * self.d];
                linear::cpu::grad_x(&linear, z, w, grad_x, false);
                linear::cpu::grad_w(&linear, z, x, grad_w, true);
                linear::cpu::grad_b(&linear, z, grad_b, true);
            }
        }
        let [right, filled, right_all, _] = accuracy::count(windows, window_labels, predictions);
        let stats = io.write("stats");
        stats[LOSS] = R::of(loss) * inv_tokens;
        for (at, n) in [(RIGHT, right), (FILLED, filled), (RIGHT_ALL, right_all)] {
            stats[at] = R::of(n as f64);
        }
    }
}

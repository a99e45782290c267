use super::DecayGate;
use crate::ops::reduce::{Pieces, add_partials, wanted_or};
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};
use rayon::prelude::*;

impl CpuOp for DecayGate {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (y, a_log, dt_bias) = (io.read("y"), io.read("A_log"), io.read("dt_bias"));
        let (h, per) = (self.h, Pieces::new(self.rows).rows);
        let rate: Vec<R> = a_log.iter().map(|a| -a.exp()).collect();
        let pieces = io.write("g").par_chunks_mut(per * h);
        pieces.zip(y.par_chunks(per * h)).for_each(|(g, y)| {
            for (g, y) in g.chunks_mut(h).zip(y.chunks(h)) {
                for i in 0..h {
                    g[i] = rate[i] * (y[i] + dt_bias[i]).softplus();
                }
            }
        });
    }

    fn cpu_bwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (y, a_log, dt_bias) = (io.read("y"), io.read("A_log"), io.read("dt_bias"));
        let (g, grad_g) = (io.read("g"), io.grad("g"));
        let h = self.h;
        let pieces = Pieces::new(self.rows);
        let rate: Vec<R> = a_log.iter().map(|a| -a.exp()).collect();
        let (mut grad_a_log, mut grad_dt_bias) = (pieces.partials(h), pieces.partials(h));
        let mut unread = Vec::new();
        let parts = wanted_or(io.wanted("y"), &mut unread, y.len()).par_chunks_mut(pieces.rows * h);
        let parts = parts.zip(grad_a_log.par_chunks_mut(h).zip(grad_dt_bias.par_chunks_mut(h)));
        parts
            .enumerate()
            .for_each(|(piece, (grad_y, (grad_a_log, grad_dt_bias)))| {
                for (i, grad_y) in grad_y.chunks_mut(h).enumerate() {
                    let at = (piece * pieces.rows + i) * h;
                    let (y, g, grad_g) = (&y[at..at + h], &g[at..at + h], &grad_g[at..at + h]);
                    for i in 0..h {
                        grad_y[i] = grad_g[i] * rate[i] * (y[i] + dt_bias[i]).sigmoid();
                        grad_a_log[i] += grad_g[i] * g[i];
                        grad_dt_bias[i] += grad_y[i];
                    }
                }
            });
        for (port, partials) in [("A_log", &grad_a_log), ("dt_bias", &grad_dt_bias)] {
            if let Some(sum) = io.sum(port) {
                add_partials(sum, partials);
            }
        }
    }
}

use super::DecayGate;
use crate::ops::reduce::{Pieces, add_partials, wanted_or};
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};
use rayon::prelude::*;

impl CpuOp for DecayGate {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (y, a_log, dt_bias) = (io.read("y"), io.read("A_log"), io.read("dt_bias"));
        let (h, writes, width) = (self.h, self.writes, self.width());
        let per = Pieces::new(self.rows).rows;
        let rate: Vec<R> = a_log.iter().map(|a| -a.exp()).collect();
        let pieces = io.write("g").par_chunks_mut(per * h);
        pieces.zip(y.par_chunks(per * width)).for_each(|(g, y)| {
            for (g, y) in g.chunks_mut(h).zip(y.chunks(width)) {
                for i in 0..h {
                    g[i] = rate[i] * (y[i] + dt_bias[i]).softplus();
                }
            }
        });
        let Some(beta) = io.write_if("beta") else { return };
        let strongest = R::of(f64::from(self.strongest));
        let pieces = beta.par_chunks_mut(per * writes);
        pieces.zip(y.par_chunks(per * width)).for_each(|(beta, y)| {
            for (beta, y) in beta.chunks_mut(writes).zip(y.chunks(width)) {
                for (beta, y) in beta.iter_mut().zip(&y[h..]) {
                    *beta = strongest * y.sigmoid();
                }
            }
        });
    }

    fn cpu_bwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (y, a_log, dt_bias) = (io.read("y"), io.read("A_log"), io.read("dt_bias"));
        let (h, writes, width) = (self.h, self.writes, self.width());
        let grad_g = io.grad("g");
        let grad_beta = if writes > 0 { io.grad("beta") } else { &[] };
        let strongest = R::of(f64::from(self.strongest));
        let pieces = Pieces::new(self.rows);
        let rate: Vec<R> = a_log.iter().map(|a| -a.exp()).collect();
        let (mut grad_a_log, mut grad_dt_bias) = (pieces.partials(h), pieces.partials(h));
        let mut unread = Vec::new();
        let parts = wanted_or(io.wanted("y"), &mut unread, y.len()).par_chunks_mut(pieces.rows * width);
        let parts = parts.zip(grad_a_log.par_chunks_mut(h).zip(grad_dt_bias.par_chunks_mut(h)));
        parts
            .enumerate()
            .for_each(|(piece, (grad_y, (grad_a_log, grad_dt_bias)))| {
                for (i, grad_y) in grad_y.chunks_mut(width).enumerate() {
                    let row = piece * pieces.rows + i;
                    let (y, grad_g) = (&y[row * width..][..width], &grad_g[row * h..][..h]);
                    for i in 0..h {
                        let (here, d) = (y[i] + dt_bias[i], grad_g[i] * rate[i]);
                        grad_y[i] = d * here.sigmoid();
                        grad_a_log[i] += d * here.softplus();
                        grad_dt_bias[i] += grad_y[i];
                    }
                    let grad_beta = &grad_beta[row * writes..][..writes];
                    for ((grad_y, y), d) in grad_y[h..].iter_mut().zip(&y[h..]).zip(grad_beta) {
                        *grad_y = *d * strongest * y.sigmoid() * (-*y).sigmoid();
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

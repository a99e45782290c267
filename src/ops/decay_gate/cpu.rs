use super::DecayGate;
use crate::ops::reduce::{Pieces, add_partials, wanted_or};
use crate::step::StepParams;
use crate::twin::CpuOp;
use crate::twin::{In, Out, Real};
use rayon::prelude::*;

impl CpuOp for DecayGate {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, ins: &[In<'_, R>], outs: &mut [Out<'_, R>]) {
        let (y, a_log, dt_bias) = (ins[0].real(), ins[1].real(), ins[2].real());
        let (h, per) = (self.h, Pieces::new(self.rows).rows);
        let rate: Vec<R> = a_log.iter().map(|a| -a.exp()).collect();
        let pieces = outs[0].real().par_chunks_mut(per * h);
        pieces.zip(y.par_chunks(per * h)).for_each(|(g, y)| {
            for (g, y) in g.chunks_mut(h).zip(y.chunks(h)) {
                for i in 0..h {
                    g[i] = rate[i] * (y[i] + dt_bias[i]).softplus();
                }
            }
        });
    }

    fn cpu_bwd<R: Real>(
        &self,
        _step: &StepParams,
        ins: &[In<'_, R>],
        outs: &[In<'_, R>],
        grad_outs: &[In<'_, R>],
        grad_ins: &mut [Out<'_, R>],
    ) {
        let (y, a_log, dt_bias) = (ins[0].real(), ins[1].real(), ins[2].real());
        let (g, grad_g) = (outs[0].real(), grad_outs[0].real());
        let [grad_y, da_log_out, grad_dt_bias_out] = grad_ins else {
            unreachable!("three inputs")
        };
        let h = self.h;
        let pieces = Pieces::new(self.rows);
        let rate: Vec<R> = a_log.iter().map(|a| -a.exp()).collect();
        let (mut grad_a_log, mut grad_dt_bias) = (pieces.partials(h), pieces.partials(h));
        let mut unread = Vec::new();
        let parts = wanted_or(grad_y, &mut unread, y.len()).par_chunks_mut(pieces.rows * h);
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
        for (out, partials) in [(da_log_out, &grad_a_log), (grad_dt_bias_out, &grad_dt_bias)] {
            if let Some(sum) = out.sum() {
                add_partials(sum, partials);
            }
        }
    }
}

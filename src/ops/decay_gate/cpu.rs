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
        d_outs: &[In<'_, R>],
        d_ins: &mut [Out<'_, R>],
    ) {
        let (y, a_log, dt_bias) = (ins[0].real(), ins[1].real(), ins[2].real());
        let (g, dg) = (outs[0].real(), d_outs[0].real());
        let [dy, da_log_out, ddt_bias_out] = d_ins else {
            unreachable!("three inputs")
        };
        let h = self.h;
        let pieces = Pieces::new(self.rows);
        let rate: Vec<R> = a_log.iter().map(|a| -a.exp()).collect();
        let (mut da_log, mut ddt_bias) = (pieces.partials(h), pieces.partials(h));
        let mut unread = Vec::new();
        let parts = wanted_or(dy, &mut unread, y.len()).par_chunks_mut(pieces.rows * h);
        let parts = parts.zip(da_log.par_chunks_mut(h).zip(ddt_bias.par_chunks_mut(h)));
        parts.enumerate().for_each(|(piece, (dy, (da_log, ddt_bias)))| {
            for (i, dy) in dy.chunks_mut(h).enumerate() {
                let at = (piece * pieces.rows + i) * h;
                let (y, g, dg) = (&y[at..at + h], &g[at..at + h], &dg[at..at + h]);
                for i in 0..h {
                    dy[i] = dg[i] * rate[i] * (y[i] + dt_bias[i]).sigmoid();
                    da_log[i] += dg[i] * g[i];
                    ddt_bias[i] += dy[i];
                }
            }
        });
        for (out, partials) in [(da_log_out, &da_log), (ddt_bias_out, &ddt_bias)] {
            if let Some(sum) = out.sum() {
                add_partials(sum, partials);
            }
        }
    }
}

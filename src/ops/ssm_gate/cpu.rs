use super::SsmGate;
use crate::ops::reduce::{Pieces, add_partials, wanted_or};
use crate::ops::rows::dot;
use crate::step::StepParams;
use crate::twin::CpuOp;
use crate::twin::{In, Out, Real};
use rayon::prelude::*;

impl CpuOp for SsmGate {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, ins: &[In<'_, R>], outs: &mut [Out<'_, R>]) {
        let (x, dt_raw) = (ins[0].real(), ins[1].real());
        let (dt_bias, a_log) = (ins[2].real(), ins[3].real());
        let (h, p, per) = (self.h, self.p, Pieces::new(self.rows).rows);
        let rate: Vec<R> = a_log.iter().map(|a| -a.exp()).collect();
        let [g, v] = outs else {
            unreachable!("the ports say two outputs")
        };
        let made = g.real().par_chunks_mut(per * h);
        let made = made.zip(v.real().par_chunks_mut(per * h * p));
        let read = dt_raw.par_chunks(per * h).zip(x.par_chunks(per * h * p));
        made.zip(read).for_each(|((g, v), (dt_raw, x))| {
            for (i, (v, x)) in v.chunks_mut(p).zip(x.chunks(p)).enumerate() {
                let dt = (dt_raw[i] + dt_bias[i % h]).softplus();
                g[i] = rate[i % h] * dt;
                v.iter_mut().zip(x).for_each(|(v, x)| *v = dt * *x);
            }
        });
    }

    fn cpu_bwd<R: Real>(
        &self,
        _step: &StepParams,
        ins: &[In<'_, R>],
        _outs: &[In<'_, R>],
        d_outs: &[In<'_, R>],
        d_ins: &mut [Out<'_, R>],
    ) {
        let (x, dt_raw) = (ins[0].real(), ins[1].real());
        let (dt_bias, a_log) = (ins[2].real(), ins[3].real());
        let (dg, dv) = (d_outs[0].real(), d_outs[1].real());
        let [dx, ddt_raw, ddt_bias_out, da_log_out] = d_ins else {
            unreachable!("four inputs")
        };
        let (h, p, pieces) = (self.h, self.p, Pieces::new(self.rows));
        let rate: Vec<R> = a_log.iter().map(|a| -a.exp()).collect();
        let (mut ddt_bias, mut da_log) = (pieces.partials(h), pieces.partials(h));
        let (mut unread_x, mut unread_dt) = (Vec::new(), Vec::new());
        let accumulate = matches!(dx, Out::Real { accumulate: true, .. });
        let per = pieces.rows * h;
        let parts = wanted_or(dx, &mut unread_x, x.len()).par_chunks_mut(per * p);
        let parts = parts.zip(wanted_or(ddt_raw, &mut unread_dt, dt_raw.len()).par_chunks_mut(per));
        let parts = parts.zip(ddt_bias.par_chunks_mut(h).zip(da_log.par_chunks_mut(h)));
        parts
            .enumerate()
            .for_each(|(piece, ((dx, ddt_raw), (ddt_bias, da_log)))| {
                for (i, (dx, ddt_raw)) in dx.chunks_mut(p).zip(ddt_raw).enumerate() {
                    let (at, head) = (piece * per + i, i % h);
                    let (x, dv) = (&x[at * p..][..p], &dv[at * p..][..p]);
                    let y = dt_raw[at] + dt_bias[head];
                    let dt = y.softplus();
                    for (dx, dv) in dx.iter_mut().zip(dv) {
                        let before = if accumulate { *dx } else { R::ZERO };
                        *dx = before + dt * *dv;
                    }
                    *ddt_raw = (dot(dv, x) + rate[head] * dg[at]) * y.sigmoid();
                    ddt_bias[head] += *ddt_raw;
                    da_log[head] += dg[at] * rate[head] * dt;
                }
            });
        for (out, partials) in [(ddt_bias_out, &ddt_bias), (da_log_out, &da_log)] {
            if let Some(sum) = out.sum() {
                add_partials(sum, partials);
            }
        }
    }
}

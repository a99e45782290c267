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
        grad_outs: &[In<'_, R>],
        grad_ins: &mut [Out<'_, R>],
    ) {
        let (x, dt_raw) = (ins[0].real(), ins[1].real());
        let (dt_bias, a_log) = (ins[2].real(), ins[3].real());
        let (grad_g, d_v) = (grad_outs[0].real(), grad_outs[1].real());
        let [grad_x, grad_dt_raw, grad_dt_bias_out, da_log_out] = grad_ins else {
            unreachable!("four inputs")
        };
        let (h, p, pieces) = (self.h, self.p, Pieces::new(self.rows));
        let rate: Vec<R> = a_log.iter().map(|a| -a.exp()).collect();
        let (mut grad_dt_bias, mut grad_a_log) = (pieces.partials(h), pieces.partials(h));
        let (mut unread_x, mut unread_dt) = (Vec::new(), Vec::new());
        let accumulate = matches!(grad_x, Out::Real { accumulate: true, .. });
        let per = pieces.rows * h;
        let parts = wanted_or(grad_x, &mut unread_x, x.len()).par_chunks_mut(per * p);
        let parts = parts.zip(wanted_or(grad_dt_raw, &mut unread_dt, dt_raw.len()).par_chunks_mut(per));
        let parts = parts.zip(grad_dt_bias.par_chunks_mut(h).zip(grad_a_log.par_chunks_mut(h)));
        parts
            .enumerate()
            .for_each(|(piece, ((grad_x, grad_dt_raw), (grad_dt_bias, grad_a_log)))| {
                for (i, (grad_x, grad_dt_raw)) in grad_x.chunks_mut(p).zip(grad_dt_raw).enumerate() {
                    let (at, head) = (piece * per + i, i % h);
                    let (x, d_v) = (&x[at * p..][..p], &d_v[at * p..][..p]);
                    let y = dt_raw[at] + dt_bias[head];
                    let dt = y.softplus();
                    for (grad_x, d_v) in grad_x.iter_mut().zip(d_v) {
                        let before = if accumulate { *grad_x } else { R::ZERO };
                        *grad_x = before + dt * *d_v;
                    }
                    *grad_dt_raw = (dot(d_v, x) + rate[head] * grad_g[at]) * y.sigmoid();
                    grad_dt_bias[head] += *grad_dt_raw;
                    grad_a_log[head] += grad_g[at] * rate[head] * dt;
                }
            });
        for (out, partials) in [(grad_dt_bias_out, &grad_dt_bias), (da_log_out, &grad_a_log)] {
            if let Some(sum) = out.sum() {
                add_partials(sum, partials);
            }
        }
    }
}

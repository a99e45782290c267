use super::SsmGate;
use crate::ops::reduce::{Pieces, add_partials, wanted_or};
use crate::ops::rows::dot;
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};
use rayon::prelude::*;

impl CpuOp for SsmGate {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (x, dt_raw) = (io.read("x"), io.read("dt_raw"));
        let (dt_bias, a_log) = (io.read("dt_bias"), io.read("A_log"));
        let (h, p, per) = (self.h, self.p, Pieces::new(self.rows).rows);
        let rate: Vec<R> = a_log.iter().map(|a| -a.exp()).collect();
        let (g, v) = (io.write("g"), io.write("v"));
        let made = g.par_chunks_mut(per * h);
        let made = made.zip(v.par_chunks_mut(per * h * p));
        let read = dt_raw.par_chunks(per * h).zip(x.par_chunks(per * h * p));
        made.zip(read).for_each(|((g, v), (dt_raw, x))| {
            for (i, (v, x)) in v.chunks_mut(p).zip(x.chunks(p)).enumerate() {
                let dt = (dt_raw[i] + dt_bias[i % h]).softplus();
                g[i] = rate[i % h] * dt;
                v.iter_mut().zip(x).for_each(|(v, x)| *v = dt * *x);
            }
        });
    }

    fn cpu_bwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (x, dt_raw) = (io.read("x"), io.read("dt_raw"));
        let (dt_bias, a_log) = (io.read("dt_bias"), io.read("A_log"));
        let (grad_g, grad_v) = (io.grad("g"), io.grad("v"));
        let (h, p, pieces) = (self.h, self.p, Pieces::new(self.rows));
        let rate: Vec<R> = a_log.iter().map(|a| -a.exp()).collect();
        let (mut grad_dt_bias, mut grad_a_log) = (pieces.partials(h), pieces.partials(h));
        let (mut unread_x, mut unread_dt) = (Vec::new(), Vec::new());
        let wanted_x = io.wanted("x");
        let accumulate = wanted_x.as_ref().is_some_and(|(_, add)| *add);
        let per = pieces.rows * h;
        let parts = wanted_or(wanted_x, &mut unread_x, x.len()).par_chunks_mut(per * p);
        let parts =
            parts.zip(wanted_or(io.wanted("dt_raw"), &mut unread_dt, dt_raw.len()).par_chunks_mut(per));
        let parts = parts.zip(grad_dt_bias.par_chunks_mut(h).zip(grad_a_log.par_chunks_mut(h)));
        parts
            .enumerate()
            .for_each(|(piece, ((grad_x, grad_dt_raw), (grad_dt_bias, grad_a_log)))| {
                for (i, (grad_x, grad_dt_raw)) in grad_x.chunks_mut(p).zip(grad_dt_raw).enumerate() {
                    let (at, head) = (piece * per + i, i % h);
                    let (x, grad_v) = (&x[at * p..][..p], &grad_v[at * p..][..p]);
                    let y = dt_raw[at] + dt_bias[head];
                    let dt = y.softplus();
                    for (grad_x, grad_v) in grad_x.iter_mut().zip(grad_v) {
                        let before = if accumulate { *grad_x } else { R::ZERO };
                        *grad_x = before + dt * *grad_v;
                    }
                    *grad_dt_raw = (dot(grad_v, x) + rate[head] * grad_g[at]) * y.sigmoid();
                    grad_dt_bias[head] += *grad_dt_raw;
                    grad_a_log[head] += grad_g[at] * rate[head] * dt;
                }
            });
        for (port, partials) in [("dt_bias", &grad_dt_bias), ("A_log", &grad_a_log)] {
            if let Some(sum) = io.sum(port) {
                add_partials(sum, partials);
            }
        }
    }
}

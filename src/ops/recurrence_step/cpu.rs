use super::RecurrenceStep;
use crate::ops::Decay;
use crate::ops::chunks::exps;
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};
use rayon::prelude::*;

/// Forward inputs; the gates are empty where there are none.
struct Inputs<'a, R> {
    q: &'a [R],
    k: &'a [R],
    v: &'a [R],
    beta: &'a [R],
    g: &'a [R],
}

/// out = S^T key.
fn read<R: Real>(out: &mut [R], state: &[R], key: &[R]) {
    out.fill(R::ZERO);
    for (row, k) in state.chunks(out.len()).zip(key) {
        for (out, s) in out.iter_mut().zip(row) {
            *out += *k * *s;
        }
    }
}

impl RecurrenceStep {
    fn head<R: Real>(&self, x: &Inputs<'_, R>, head: usize, state: &mut [R], o: &mut [R], work: &mut Vec<R>) {
        let (d_k, d_v) = (self.d_k, self.d_v);
        let (b, h) = (head / self.h, head % self.h);
        let keys = self.key_heads();
        let key_head = h.min(keys - 1);
        self.forget(x.g, head, state, work);
        let mut write = vec![R::ZERO; d_v];
        for j in b * self.householder..(b + 1) * self.householder {
            let k = &x.k[(j * keys + key_head) * d_k..][..d_k];
            let row = j * self.h + h;
            let v = &x.v[row * d_v..][..d_v];
            write.copy_from_slice(v);
            if self.delta {
                // o is free until the end.
                read(o, state, k);
                for (w, had) in write.iter_mut().zip(&*o) {
                    *w -= *had;
                }
            }
            if self.beta {
                write.iter_mut().for_each(|w| *w *= x.beta[row]);
            }
            for (row, k) in state.chunks_mut(d_v).zip(k) {
                for (s, w) in row.iter_mut().zip(&write) {
                    *s += *k * *w;
                }
            }
        }
        read(o, state, &x.q[(b * keys + key_head) * d_k..][..d_k]);
        let scale = R::of(f64::from(self.scale));
        o.iter_mut().for_each(|o| *o *= scale);
    }

    /// `S <- diag(A) S`.
    fn forget<R: Real>(&self, g: &[R], head: usize, state: &mut [R], factors: &mut Vec<R>) {
        factors.clear();
        match self.decay {
            Decay::None => return,
            Decay::Constant => {
                let gamma = 1.0 - 2f64.powf(-5.0 - (head % self.h) as f64);
                factors.resize(self.d_k, R::of(gamma));
            }
            Decay::Scalar => factors.resize(self.d_k, g[head].exp()),
            Decay::Channel => {
                factors.extend_from_slice(&g[head * self.d_k..][..self.d_k]);
                exps(factors);
            }
        }
        for (row, a) in state.chunks_mut(self.d_v).zip(factors.iter()) {
            row.iter_mut().for_each(|s| *s *= *a);
        }
    }
}

impl CpuOp for RecurrenceStep {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let x = Inputs {
            q: io.read("q"),
            k: io.read("k"),
            v: io.read("v"),
            beta: io.read_if("beta").unwrap_or_default(),
            g: io.read_if("g").or(io.read_if("gk")).unwrap_or_default(),
        };
        let (o, state) = (io.write("o"), io.write("state"));
        let heads = o.par_chunks_mut(self.d_v);
        heads
            .zip(state.par_chunks_mut(self.d_k * self.d_v))
            .enumerate()
            .for_each_init(Vec::new, |work, (head, (o, state))| {
                self.head(&x, head, state, o, work);
            });
    }
}

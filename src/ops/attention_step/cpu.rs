use super::AttentionStep;
use crate::ops::chunks::{clamped, exps};
use crate::ops::rows::{dot, sum};
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};
use rayon::prelude::*;

/// The states of one sequence, the new token in them.
struct Past<'a, R> {
    keys: &'a [R],
    values: &'a [R],
    /// Empty if nothing is forgotten.
    bias: &'a [R],
}

impl AttentionStep {
    /// Writes the rows of this position.
    fn append<R: Real>(&self, cache: &mut [R], t: usize, new: &[R]) {
        let row = self.h * self.d;
        for (cache, new) in cache.chunks_mut(self.rows * row).zip(new.chunks(row)) {
            cache[t * row..][..row].copy_from_slice(new);
        }
    }

    /// Adds what this token forgets to the biases of all keys before it.
    fn forget<R: Real>(&self, bias: &mut [R], t: usize, log_f: &[R]) {
        for (bias, log_f) in bias.chunks_mut(self.rows * self.h).zip(log_f.chunks(self.h)) {
            for bias in bias.chunks_mut(self.h).take(t) {
                for (bias, log_f) in bias.iter_mut().zip(log_f) {
                    *bias += clamped(*log_f);
                }
            }
            bias[t * self.h..][..self.h].fill(R::ZERO);
        }
    }

    fn head<R: Real>(&self, past: &Past<'_, R>, h: usize, t: usize, q: &[R], o: &mut [R], p: &mut Vec<R>) {
        let (d, row) = (self.d, self.h * self.d);
        let scale = R::of(f64::from(self.scale));
        let at = |j: usize| j * row + h * d..j * row + (h + 1) * d;
        p.clear();
        p.extend((0..=t).map(|j| {
            let z = scale * dot(q, &past.keys[at(j)]);
            if self.forgets {
                z + past.bias[j * self.h + h]
            } else {
                z
            }
        }));
        let max = p.iter().fold(p[0], |m, z| m.max(*z));
        p.iter_mut().for_each(|z| *z -= max);
        exps(p);
        let inv = R::ONE / sum(p);
        o.fill(R::ZERO);
        for (j, p) in p.iter().enumerate() {
            for (o, v) in o.iter_mut().zip(&past.values[at(j)]) {
                *o += *p * *v;
            }
        }
        o.iter_mut().for_each(|o| *o *= inv);
    }
}

impl CpuOp for AttentionStep {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (q, k, v) = (io.read("q"), io.read("k"), io.read("v"));
        let t = (io.int("position")[0] as usize).min(self.rows - 1);
        let (o, keys, values) = (io.write("o"), io.write("keys"), io.write("values"));
        self.append(keys, t, k);
        self.append(values, t, v);
        let bias: &[R] = match io.write_if("bias") {
            Some(bias) => {
                self.forget(bias, t, io.read("log_f"));
                bias
            }
            None => &[],
        };
        let (cache, biases) = (self.rows * self.h * self.d, self.rows * self.h);
        let heads = o.par_chunks_mut(self.d).zip(q.par_chunks(self.d));
        heads.enumerate().for_each_init(Vec::new, |p, (head, (o, q))| {
            let (b, h) = (head / self.h, head % self.h);
            let past = Past {
                keys: &keys[b * cache..][..cache],
                values: &values[b * cache..][..cache],
                bias: if self.forgets {
                    &bias[b * biases..][..biases]
                } else {
                    &[]
                },
            };
            self.head(&past, h, t, q, o, p);
        });
    }
}

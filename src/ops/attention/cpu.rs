use super::{Attention, MIN_LOG_F};
use crate::ops::rows;
use crate::step::StepParams;
use crate::twin::matmul::{Mat, Threads, matmul};
use crate::twin::{CpuOp, Real, Slices, vectorize};
use rayon::prelude::*;

/// Query rows of a tile.
const TILE: usize = 64;

impl CpuOp for Attention {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (q, k, v) = (io.read("q"), io.read("k"), io.read("v"));
        let sums = self.forgotten(&io);
        let (o, lse) = (io.write("o"), io.write("lse"));
        let (row, t) = (self.h * self.d, self.t);
        let o = o.par_chunks_mut(t * row);
        let lse = lse.par_chunks_mut(t * self.h);
        // A task is a sample's tile of query rows with all heads: its outputs are contiguous.
        o.zip(lse).enumerate().for_each(|(b, (o, lse))| {
            let tiles = o
                .par_chunks_mut(TILE * row)
                .zip(lse.par_chunks_mut(TILE * self.h));
            tiles.enumerate().for_each(|(tile, (o, lse))| {
                let (t0, n) = (tile * TILE, o.len() / row);
                let mut p = vec![R::ZERO; n * (t0 + n)];
                for h in 0..self.h {
                    let head = b * t * row + h * self.d;
                    self.scores(q, k, head, t0, n, &mut p);
                    let keys = t0 + n;
                    let sums = self.of_head(&sums, b, h);
                    vectorize(
                        #[inline(always)]
                        || {
                            for i in 0..n {
                                let p = &mut p[i * keys..][..keys];
                                add_decays(p, sums, t0 + i);
                                lse[i * self.h + h] = softmax(p, t0 + i + 1);
                            }
                        },
                    );
                    let (p, v) = (Mat::rows(&p, keys), Mat::rows(&v[head..], row));
                    let o = &mut o[h * self.d..];
                    matmul((n, self.d, keys), p, v, o, row, R::ZERO, R::ONE, Threads::One);
                }
            });
        });
    }

    fn cpu_bwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let saved = Saved {
            q: io.read("q"),
            k: io.read("k"),
            v: io.read("v"),
            lse: io.read("lse"),
            grad_o: io.grad("o"),
            sums: self.forgotten(&io),
        };
        let ports = [("q", self.d), ("k", self.d), ("v", self.d), ("log_f", 1)];
        let mut samples: Vec<[Option<&mut [R]>; 4]> = (0..self.b).map(|_| [const { None }; 4]).collect();
        for (port, (name, width)) in ports.into_iter().enumerate() {
            if let Some((data, _)) = io.wanted(name) {
                let parts = data.chunks_mut(self.t * self.h * width);
                for (sample, part) in samples.iter_mut().zip(parts) {
                    sample[port] = Some(part);
                }
            }
        }
        samples.par_iter_mut().enumerate().for_each(|(b, sample)| {
            // A head's rows are not contiguous in the outputs: heads work apart and are put together after.
            let heads: Vec<[Vec<R>; 4]> = (0..self.h)
                .into_par_iter()
                .map(|h| {
                    vectorize(
                        #[inline(always)]
                        || self.head_bwd(&saved, b, h),
                    )
                })
                .collect();
            for (port, target) in sample.iter_mut().enumerate() {
                let (Some(target), (_, width)) = (target, ports[port]) else {
                    continue;
                };
                for (i, to) in target.chunks_mut(self.h * width).enumerate() {
                    for (to, head) in to.chunks_mut(width).zip(&heads) {
                        to.copy_from_slice(&head[port][i * width..][..width]);
                    }
                }
            }
        });
    }
}

/// What the backward call reads.
struct Saved<'a, R> {
    q: &'a [R],
    k: &'a [R],
    v: &'a [R],
    lse: &'a [R],
    grad_o: &'a [R],
    sums: Vec<f64>,
}

impl Attention {
    /// Sums of the log decays from the start, \[B, H, T\]; none if nothing is forgotten.
    fn forgotten<R: Real>(&self, io: &Slices<'_, R>) -> Vec<f64> {
        if !self.forget {
            return Vec::new();
        }
        let log_f = io.read("log_f");
        let mut sums = vec![0.0; self.b * self.h * self.t];
        for (head, sums) in sums.chunks_mut(self.t).enumerate() {
            let (b, h) = (head / self.h, head % self.h);
            let mut total = 0.0;
            for (t, sum) in sums.iter_mut().enumerate() {
                total += log_f[(b * self.t + t) * self.h + h].f64().max(MIN_LOG_F);
                *sum = total;
            }
        }
        sums
    }

    /// The part of [`Attention::forgotten`] of one head.
    fn of_head<'a>(&self, sums: &'a [f64], b: usize, h: usize) -> Option<&'a [f64]> {
        self.forget.then(|| &sums[(b * self.h + h) * self.t..][..self.t])
    }

    /// Scores of query rows t0 .. t0 + n with keys 0 .. t0 + n, scaled, not masked.
    fn scores<R: Real>(&self, q: &[R], k: &[R], head: usize, t0: usize, n: usize, z: &mut [R]) {
        let (row, keys) = (self.h * self.d, t0 + n);
        let (q, k) = (Mat::rows(&q[head + t0 * row..], row), Mat::rows(&k[head..], row));
        let scale = R::of(f64::from(self.scale));
        matmul((n, keys, self.d), q, k.t(), z, keys, R::ZERO, scale, Threads::One);
    }

    /// dq, dk, dv of one head, each \[T, D\], and its `grad_log_f` \[T\]: query tiles in order, so that the sums over queries
    /// have one.
    #[inline(always)]
    fn head_bwd<R: Real>(&self, x: &Saved<'_, R>, b: usize, h: usize) -> [Vec<R>; 4] {
        let (d, row) = (self.d, self.h * self.d);
        let head = b * self.t * row + h * d;
        let scale = R::of(f64::from(self.scale));
        let [mut grad_q, mut grad_k, mut grad_v] = [(); 3].map(|()| vec![R::ZERO; self.t * d]);
        let mut p = vec![R::ZERO; TILE.min(self.t) * self.t];
        let mut grad_z = p.clone();
        let sums = self.of_head(&x.sums, b, h);
        // Columns less rows of dz without the diagonal.
        let mut turns = vec![R::ZERO; if self.forget { self.t } else { 0 }];
        for t0 in (0..self.t).step_by(TILE) {
            let n = TILE.min(self.t - t0);
            let keys = t0 + n;
            let at = head + t0 * row;
            let grad_o = Mat::rows(&x.grad_o[at..], row);
            self.scores(x.q, x.k, head, t0, n, &mut p);
            let v = Mat::rows(&x.v[head..], row).t();
            matmul(
                (n, keys, d),
                grad_o,
                v,
                &mut grad_z,
                keys,
                R::ZERO,
                R::ONE,
                Threads::One,
            );
            for i in 0..n {
                let lse = x.lse[(b * self.t + t0 + i) * self.h + h];
                let (p, grad_z) = (&mut p[i * keys..][..keys], &mut grad_z[i * keys..][..keys]);
                add_decays(p, sums, t0 + i);
                let (seen, masked) = p.split_at_mut(t0 + i + 1);
                for p in seen.iter_mut() {
                    *p = (*p - lse).exp();
                }
                masked.fill(R::ZERO);
                // d_o . o as the mean of what dz has now: its rows then sum to 0, and one key alone gets exactly that.
                let del = rows::dot(seen, &grad_z[..=t0 + i]) / rows::sum(seen);
                for (grad_z, p) in grad_z.iter_mut().zip(&*p) {
                    *grad_z = *p * (*grad_z - del);
                }
                if self.forget {
                    let before = &grad_z[..t0 + i];
                    turns[t0 + i] -= rows::sum(before);
                    for (turn, grad_z) in turns.iter_mut().zip(before) {
                        *turn += *grad_z;
                    }
                }
            }
            let (p, grad_z) = (Mat::rows(&p, keys), Mat::rows(&grad_z, keys));
            let (q, k) = (Mat::rows(&x.q[at..], row), Mat::rows(&x.k[head..], row));
            matmul(
                (n, d, keys),
                grad_z,
                k,
                &mut grad_q[t0 * d..],
                d,
                R::ZERO,
                scale,
                Threads::One,
            );
            matmul(
                (keys, d, n),
                grad_z.t(),
                q,
                &mut grad_k,
                d,
                R::ONE,
                scale,
                Threads::One,
            );
            matmul(
                (keys, d, n),
                p.t(),
                grad_o,
                &mut grad_v,
                d,
                R::ONE,
                R::ONE,
                Threads::One,
            );
        }
        let mut total = 0.0;
        let grad_log_f = turns.iter().map(|turn| {
            let before = total;
            total += turn.f64();
            R::of(before)
        });
        let grad_log_f = grad_log_f.collect();
        [grad_q, grad_k, grad_v, grad_log_f]
    }
}

/// Adds to the scores of the query at `t` the log decays between each key and it.
#[inline(always)]
fn add_decays<R: Real>(z: &mut [R], sums: Option<&[f64]>, t: usize) {
    if let Some(sums) = sums {
        for (z, sum) in z.iter_mut().zip(&sums[..=t]) {
            *z += R::of(sums[t] - sum);
        }
    }
}

/// Softmax of the first `seen` scores in place, 0 for the others; returns ln of the sum of exponentials.
#[inline(always)]
fn softmax<R: Real>(z: &mut [R], seen: usize) -> R {
    let (z, masked) = z.split_at_mut(seen);
    masked.fill(R::ZERO);
    let max = rows::largest(z);
    for z in z.iter_mut() {
        *z = (*z - max).exp();
    }
    let sum: R = z.iter().copied().sum();
    let inv = R::ONE / sum;
    for z in z.iter_mut() {
        *z *= inv;
    }
    max + sum.ln()
}

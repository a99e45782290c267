use super::Inputs;
use crate::ops::chunks::{Chunk, clamped, exps, product};
use crate::twin::Real;
use crate::twin::matmul::Mat;

/// Tokens of a sub-block: between two of them a decay splits at their ends, inside one it is formed for every pair.
const SUB: usize = 16;

/// Decay by channel inside a chunk, in sub-blocks.
pub(super) struct Channels<R> {
    d_k: usize,
    /// `[C,d_k]`: clamped log decays.
    log: Vec<R>,
    /// `[C,d_k]`: decay from the sub-block's start to each token.
    l: Vec<R>,
    /// `[C,d_k]`: log decay from each token to its sub-block's end.
    r: Vec<R>,
    /// `[SUB,d_k]`: decay from the tokens of a sub-block to the start of another.
    reach: Vec<R>,
    /// `[SUB,d_k]`: Q * l of a sub-block; K * reach of another; products with them.
    q_l: Vec<R>,
    k_reach: Vec<R>,
    sums: Vec<R>,
    /// `[d_k]`: log decay over the sub-blocks between; running log decay and its exponential.
    between: Vec<R>,
    running: Vec<R>,
    factor: Vec<R>,
}

impl<R: Real> Channels<R> {
    /// For chunks of `c` tokens; 0: never used.
    pub(super) fn new(c: usize, d_k: usize) -> Self {
        let rows = |n: usize| vec![R::ZERO; n.min(c) * d_k];
        Self {
            d_k,
            log: rows(c),
            l: rows(c),
            r: rows(c),
            reach: rows(SUB),
            q_l: rows(SUB),
            k_reach: rows(SUB),
            sums: rows(SUB),
            between: rows(1),
            running: rows(1),
            factor: rows(1),
        }
    }

    /// Decay factors of a chunk: in and out of the whole chunk, and those of its sub-blocks.
    pub(super) fn factors(
        &mut self,
        g: &[R],
        at: Chunk,
        d_k: usize,
        decay_in: &mut [R],
        decay_out: &mut [R],
    ) {
        let n = at.n;
        for i in 0..n {
            let rows = self.log[i * d_k..][..d_k].iter_mut();
            rows.zip(at.at(g, d_k, i)).for_each(|(log, g)| *log = clamped(*g));
        }
        let forward = |y: &mut [R], log: &[R], period: usize| {
            for i in 0..n {
                let (before, here) = y.split_at_mut(i * d_k);
                here[..d_k].copy_from_slice(&log[i * d_k..][..d_k]);
                if i % period > 0 {
                    add(&mut here[..d_k], &before[(i - 1) * d_k..]);
                }
            }
        };
        let backward = |y: &mut [R], log: &[R], period: usize| {
            for i in (0..n).rev() {
                let (here, after) = y.split_at_mut((i + 1) * d_k);
                let here = &mut here[i * d_k..];
                here.fill(R::ZERO);
                if i + 1 < n && (i + 1) % period > 0 {
                    here.copy_from_slice(&log[(i + 1) * d_k..][..d_k]);
                    add(here, &after[..d_k]);
                }
            }
        };
        forward(decay_in, &self.log, n);
        backward(decay_out, &self.log, n);
        forward(&mut self.l, &self.log, SUB);
        backward(&mut self.r, &self.log, SUB);
        for x in [decay_in, decay_out, &mut self.l] {
            exps(&mut x[..n * d_k]);
        }
    }

    /// P, the lower triangle of `sum_x q_ix k_jx Gam_ijx`.
    pub(super) fn scores(&mut self, x: Inputs<'_, R>, at: Chunk, d_k: usize, scores: &mut [R], c: usize) {
        for first in (0..at.n).step_by(SUB) {
            let m = SUB.min(at.n - first);
            for i in first..first + m {
                scores[i * c + i + 1..(i + 1) * c].fill(R::ZERO);
            }
            self.queries(x.q, at, first, m);
            self.between.fill(R::ZERO);
            for other in (0..first).step_by(SUB).rev() {
                self.keys(x.k, at, other);
                let (a, b) = (Mat::rows(&self.q_l, d_k), Mat::rows(&self.k_reach, d_k).t());
                product((m, SUB, d_k), a, b, &mut scores[first * c + other..], c, R::ZERO);
            }
            for j in first..first + m {
                self.running.fill(R::ZERO);
                for i in j..first + m {
                    self.run(i, j);
                    let (q, k) = (at.at(x.q, d_k, i), at.at(x.k, d_k, j));
                    let terms = q.iter().zip(k).zip(&self.factor);
                    scores[i * c + j] = terms.map(|((q, k), f)| *q * *k * *f).sum();
                }
            }
        }
    }

    /// Adds the parts of dQ and dK inside the chunk that decay, of the pairs i > j.
    pub(super) fn pairs_bwd(
        &mut self,
        x: Inputs<'_, R>,
        at: Chunk,
        d_k: usize,
        grad_p: &[R],
        c: usize,
        grad_q: &mut [R],
        grad_k: &mut [R],
    ) {
        for first in (0..at.n).step_by(SUB) {
            let m = SUB.min(at.n - first);
            self.queries(x.q, at, first, m);
            self.between.fill(R::ZERO);
            for other in (0..first).step_by(SUB).rev() {
                self.keys(x.k, at, other);
                let grad_p = Mat::rows(&grad_p[first * c + other..], c);
                let keep = if other + SUB < first { R::ONE } else { R::ZERO };
                let k = Mat::rows(&self.k_reach, d_k);
                product((m, d_k, SUB), grad_p, k, &mut self.sums, d_k, keep);
                // K * reach has been used; its place takes dP^T (Q * l).
                let q = Mat::rows(&self.q_l, d_k);
                product((SUB, d_k, m), grad_p.t(), q, &mut self.k_reach, d_k, R::ZERO);
                add_product(&mut grad_k[other * d_k..], &self.reach, &self.k_reach);
            }
            if first > 0 {
                let rows = first * d_k..(first + m) * d_k;
                add_product(&mut grad_q[rows.clone()], &self.l[rows], &self.sums);
            }
            for j in first..first + m {
                self.running.fill(R::ZERO);
                for i in j + 1..first + m {
                    self.run(i, j);
                    let d = grad_p[i * c + j];
                    let (q, k) = (at.at(x.q, d_k, i), at.at(x.k, d_k, j));
                    for channel in 0..d_k {
                        let f = d * self.factor[channel];
                        grad_q[i * d_k + channel] += f * k[channel];
                        grad_k[j * d_k + channel] += f * q[channel];
                    }
                }
            }
        }
    }

    /// Q * l of the sub-block at `first`.
    fn queries(&mut self, q: &[R], at: Chunk, first: usize, m: usize) {
        let d_k = self.d_k;
        for i in 0..m {
            let row = self.q_l[i * d_k..][..d_k].iter_mut();
            let factors = at.at(q, d_k, first + i).iter().zip(&self.l[(first + i) * d_k..]);
            row.zip(factors).for_each(|(y, (q, l))| *y = *q * *l);
        }
    }

    /// K * reach of the whole sub-block at `other`, after which what lies between grows by it.
    fn keys(&mut self, k: &[R], at: Chunk, other: usize) {
        let d_k = self.d_k;
        let r = &self.r[other * d_k..];
        for (reach, r) in self.reach.chunks_mut(d_k).zip(r.chunks(d_k)) {
            let sums = r.iter().zip(&self.between);
            reach.iter_mut().zip(sums).for_each(|(y, (r, b))| *y = *r + *b);
        }
        exps(&mut self.reach);
        for i in 0..SUB {
            let row = self.k_reach[i * d_k..][..d_k].iter_mut();
            let factors = at.at(k, d_k, other + i).iter().zip(&self.reach[i * d_k..]);
            row.zip(factors).for_each(|(y, (k, f))| *y = *k * *f);
            add(&mut self.between, &self.log[(other + i) * d_k..]);
        }
    }

    /// Carries the decay from token j on to token i, one after those before.
    fn run(&mut self, i: usize, j: usize) {
        if i > j {
            add(&mut self.running, &self.log[i * self.d_k..]);
        }
        self.factor.copy_from_slice(&self.running);
        exps(&mut self.factor);
    }
}

fn add<R: Real>(y: &mut [R], x: &[R]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += *x);
}

fn add_product<R: Real>(y: &mut [R], a: &[R], b: &[R]) {
    y.iter_mut()
        .zip(a.iter().zip(b))
        .for_each(|(y, (a, b))| *y += *a * *b);
}

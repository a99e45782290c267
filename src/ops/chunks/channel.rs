//! Decay by channel inside a chunk: sums over key channels of two rows' products, each with the decay between the rows.

use super::{clamped, exps, product};
use crate::twin::Real;
use crate::twin::matmul::Mat;

/// Tokens of a sub-block: between two of them a decay splits at their ends, inside one it is formed for every pair.
const SUB: usize = 16;

/// Decay by channel inside a chunk, in sub-blocks.
pub(crate) struct Channels<R> {
    d_k: usize,
    /// `[C,d_k]`: clamped log decays.
    log: Vec<R>,
    /// `[C,d_k]`: decay from the sub-block's start to each token.
    l: Vec<R>,
    /// `[C,d_k]`: log decay from each token to its sub-block's end.
    r: Vec<R>,
    /// `[SUB,d_k]`: decay from the tokens of a sub-block to the start of another.
    reach: Vec<R>,
    /// `[SUB,d_k]`: A * l of a sub-block; B * reach of another; products with them.
    a_l: Vec<R>,
    b_reach: Vec<R>,
    sums: Vec<R>,
    /// `[d_k]`: log decay over the sub-blocks between; running log decay and its exponential.
    between: Vec<R>,
    running: Vec<R>,
    factor: Vec<R>,
}

impl<R: Real> Channels<R> {
    /// For chunks of `c` tokens; 0: never used.
    pub(crate) fn new(c: usize, d_k: usize) -> Self {
        let rows = |n: usize| vec![R::ZERO; n.min(c) * d_k];
        Self {
            d_k,
            log: rows(c),
            l: rows(c),
            r: rows(c),
            reach: rows(SUB),
            a_l: rows(SUB),
            b_reach: rows(SUB),
            sums: rows(SUB),
            between: rows(1),
            running: rows(1),
            factor: rows(1),
        }
    }

    /// Decay factors of a chunk of `n` rows from their log decays (none: 0): in and out of the whole chunk, and those of
    /// its sub-blocks.
    #[inline(always)]
    pub(crate) fn factors<'x>(
        &mut self,
        n: usize,
        log: impl Fn(usize) -> Option<&'x [R]>,
        decay_in: &mut [R],
        decay_out: &mut [R],
    ) {
        let d_k = self.d_k;
        for (i, row) in self.log.chunks_mut(d_k).enumerate().take(n) {
            match log(i) {
                Some(log) => row.iter_mut().zip(log).for_each(|(y, log)| *y = clamped(*log)),
                None => row.fill(R::ZERO),
            }
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

    /// `pair` `[C,c]`, the lower triangle of `sum_x a_ix b_jx Gam_ijx`, with the diagonal, of `n` rows.
    #[inline(always)]
    pub(crate) fn pair<'x>(
        &mut self,
        n: usize,
        a: impl Fn(usize) -> &'x [R],
        b: impl Fn(usize) -> &'x [R],
        pair: &mut [R],
        c: usize,
    ) {
        let d_k = self.d_k;
        for first in (0..n).step_by(SUB) {
            let m = SUB.min(n - first);
            for i in first..first + m {
                pair[i * c + i + 1..(i + 1) * c].fill(R::ZERO);
            }
            self.near(&a, first, m);
            self.between.fill(R::ZERO);
            for other in (0..first).step_by(SUB).rev() {
                self.far(&b, other);
                let (near, far) = (Mat::rows(&self.a_l, d_k), Mat::rows(&self.b_reach, d_k).t());
                product(
                    (m, SUB, d_k),
                    near,
                    far,
                    &mut pair[first * c + other..],
                    c,
                    R::ZERO,
                );
            }
            for j in first..first + m {
                self.running.fill(R::ZERO);
                for i in j..first + m {
                    self.run(i, j);
                    let terms = a(i).iter().zip(b(j)).zip(&self.factor);
                    pair[i * c + j] = terms.map(|((a, b), f)| *a * *b * *f).sum();
                }
            }
        }
    }

    /// From the gradient of `pair`, adds what decays to that of A, `left`, and to that of B, `right`: of i > j.
    #[inline(always)]
    pub(crate) fn pair_bwd<'x>(
        &mut self,
        n: usize,
        a: impl Fn(usize) -> &'x [R],
        b: impl Fn(usize) -> &'x [R],
        grad_pair: &[R],
        c: usize,
        left: &mut [R],
        right: &mut [R],
    ) {
        let d_k = self.d_k;
        for first in (0..n).step_by(SUB) {
            let m = SUB.min(n - first);
            self.near(&a, first, m);
            self.between.fill(R::ZERO);
            for other in (0..first).step_by(SUB).rev() {
                self.far(&b, other);
                let grad_pair = Mat::rows(&grad_pair[first * c + other..], c);
                let keep = if other + SUB < first { R::ONE } else { R::ZERO };
                let far = Mat::rows(&self.b_reach, d_k);
                product((m, d_k, SUB), grad_pair, far, &mut self.sums, d_k, keep);
                // B * reach has been used; its place takes dpair^T (A * l).
                let near = Mat::rows(&self.a_l, d_k);
                product(
                    (SUB, d_k, m),
                    grad_pair.t(),
                    near,
                    &mut self.b_reach,
                    d_k,
                    R::ZERO,
                );
                add_product(&mut right[other * d_k..], &self.reach, &self.b_reach);
            }
            if first > 0 {
                let rows = first * d_k..(first + m) * d_k;
                add_product(&mut left[rows.clone()], &self.l[rows], &self.sums);
            }
            for j in first..first + m {
                self.running.fill(R::ZERO);
                for i in j + 1..first + m {
                    self.run(i, j);
                    let (grad, a, b) = (grad_pair[i * c + j], a(i), b(j));
                    for channel in 0..d_k {
                        let f = grad * self.factor[channel];
                        left[i * d_k + channel] += f * b[channel];
                        right[j * d_k + channel] += f * a[channel];
                    }
                }
            }
        }
    }

    /// A * l of the sub-block of `m` rows at `first`.
    #[inline(always)]
    fn near<'x>(&mut self, a: &impl Fn(usize) -> &'x [R], first: usize, m: usize) {
        let d_k = self.d_k;
        for i in 0..m {
            let row = self.a_l[i * d_k..][..d_k].iter_mut();
            let factors = a(first + i).iter().zip(&self.l[(first + i) * d_k..]);
            row.zip(factors).for_each(|(y, (a, l))| *y = *a * *l);
        }
    }

    /// B * reach of the whole sub-block at `other`, after which what lies between grows by it.
    #[inline(always)]
    fn far<'x>(&mut self, b: &impl Fn(usize) -> &'x [R], other: usize) {
        let d_k = self.d_k;
        let r = &self.r[other * d_k..];
        for (reach, r) in self.reach.chunks_mut(d_k).zip(r.chunks(d_k)) {
            let sums = r.iter().zip(&self.between);
            reach.iter_mut().zip(sums).for_each(|(y, (r, b))| *y = *r + *b);
        }
        exps(&mut self.reach);
        for i in 0..SUB {
            let row = self.b_reach[i * d_k..][..d_k].iter_mut();
            let factors = b(other + i).iter().zip(&self.reach[i * d_k..]);
            row.zip(factors).for_each(|(y, (b, f))| *y = *b * *f);
            add(&mut self.between, &self.log[(other + i) * d_k..]);
        }
    }

    /// Carries the decay from token j on to token i, one after those before.
    #[inline(always)]
    fn run(&mut self, i: usize, j: usize) {
        if i > j {
            add(&mut self.running, &self.log[i * self.d_k..]);
        }
        self.factor.copy_from_slice(&self.running);
        exps(&mut self.factor);
    }
}

#[inline(always)]
fn add<R: Real>(y: &mut [R], x: &[R]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += *x);
}

#[inline(always)]
fn add_product<R: Real>(y: &mut [R], a: &[R], b: &[R]) {
    y.iter_mut()
        .zip(a.iter().zip(b))
        .for_each(|(y, (a, b))| *y += *a * *b);
}

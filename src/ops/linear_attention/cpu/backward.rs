use super::{ChunkRows, Inputs, Work, decay_rows};
use crate::ops::Decay;
use crate::ops::chunks::{decay_sums, dot_f64, product};
use crate::ops::linear_attention::LinearAttention;
use crate::twin::Real;
use crate::twin::matmul::Mat;

/// Where the gradients of one head go: rows in the order of time.
pub(super) struct HeadGrads<'a, 'b, R> {
    pub(super) q: &'a mut [&'b mut [R]],
    pub(super) k: &'a mut [&'b mut [R]],
    pub(super) v: &'a mut [&'b mut [R]],
    /// Empty without gates.
    pub(super) g: &'a mut [&'b mut [R]],
    /// Another head has left its gradients of q and k.
    pub(super) add_keys: bool,
}

/// Further matrices of the backward pass.
pub(super) struct BackwardWork<R> {
    /// `[d_k,d_v]`: dL/d state after the chunk, and the one before it.
    grad_state: Vec<R>,
    grad_before: Vec<R>,
    /// `[C,d_v]`: scale dO, and dV.
    grad_o: Vec<R>,
    grad_v: Vec<R>,
    /// `[C,C]`: dP, then E = dP * Gam; dP * P.
    e: Vec<R>,
    m: Vec<R>,
    /// `[C,d_k]`: X1, X3, then dQ, dK; Channel: the decaying parts of dQ, dK inside the chunk.
    x1: Vec<R>,
    x3: Vec<R>,
    grad_q: Vec<R>,
    grad_k: Vec<R>,
    /// `[C]` or `[d_k]`: sums over rows.
    columns: Vec<R>,
    wide: Wide,
}

impl<R: Real> BackwardWork<R> {
    pub(super) fn new(op: &LinearAttention) -> Self {
        let (c, d_k, d_v) = (op.chunk, op.d_k, op.d_v);
        let zeros = |n: usize| vec![R::ZERO; n];
        Self {
            grad_state: zeros(d_k * d_v),
            grad_before: zeros(d_k * d_v),
            grad_o: zeros(c * d_v),
            grad_v: zeros(c * d_v),
            e: zeros(c * c),
            m: zeros(c * c),
            x1: zeros(c * d_k),
            x3: zeros(c * d_k),
            grad_q: zeros(c * d_k),
            grad_k: zeros(c * d_k),
            columns: zeros(c.max(d_k)),
            wide: Wide::default(),
        }
    }
}

/// Products of a chunk in f64 whatever the twin's type, for scalar decays: gradients of log decays, and of the steps and rates
/// behind them, are sums over pairs of tokens of which a thousandth is left, and less.
#[derive(Default)]
struct Wide {
    q: Vec<f64>,
    k: Vec<f64>,
    v: Vec<f64>,
    decayed_k: Vec<f64>,
    grad_o: Vec<f64>,
    grad_state: Vec<f64>,
    /// P, its gradient, dV.
    scores: Vec<f64>,
    e: Vec<f64>,
    grad_v: Vec<f64>,
}

/// Rows one after the other, in f64.
fn widen<'a, R: Real>(to: &mut Vec<f64>, rows: impl Iterator<Item = &'a [R]>) {
    to.clear();
    rows.for_each(|row| to.extend(row.iter().map(|x| x.f64())));
}

fn narrow<R: Real>(to: &mut [R], from: &[f64]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = R::of(*from));
}

impl<R: Real> BackwardWork<R> {
    /// dV, dP and dP * P, in f64.
    fn wide_products(&mut self, op: &LinearAttention, x: Inputs<'_, R>, at: ChunkRows, w: &Work<R>) {
        let (c, d_k, d_v, n) = (op.chunk, op.d_k, op.d_v, at.keys.n);
        let wide = &mut self.wide;
        widen(&mut wide.q, (0..n).map(|i| at.keys.at(x.q, d_k, i)));
        widen(&mut wide.k, (0..n).map(|i| at.keys.at(x.k, d_k, i)));
        widen(&mut wide.v, (0..n).map(|i| at.values.at(x.v, d_v, i)));
        widen(&mut wide.decayed_k, w.decayed_k.chunks(d_k).take(n));
        widen(&mut wide.grad_o, self.grad_o.chunks(d_v).take(n));
        widen(&mut wide.grad_state, self.grad_state.chunks(d_v));
        wide.scores.resize(n * n, 0.0);
        wide.e.resize(n * n, 0.0);
        wide.grad_v.resize(n * d_v, 0.0);
        let (q, k) = (Mat::rows(&wide.q, d_k), Mat::rows(&wide.k, d_k));
        product((n, n, d_k), q, k.t(), &mut wide.scores, n, 0.0);
        for (row, gam) in w.gam.chunks(c).enumerate().take(n) {
            let scores = wide.scores[row * n..][..n].iter_mut();
            scores.zip(gam).for_each(|(x, gam)| *x *= gam.f64());
        }
        let (scores, grad_o) = (Mat::rows(&wide.scores, n), Mat::rows(&wide.grad_o, d_v));
        let (decayed_k, grad_state) = (Mat::rows(&wide.decayed_k, d_k), Mat::rows(&wide.grad_state, d_v));
        product((n, d_v, d_k), decayed_k, grad_state, &mut wide.grad_v, d_v, 0.0);
        product((n, d_v, n), scores.t(), grad_o, &mut wide.grad_v, d_v, 1.0);
        let v = Mat::rows(&wide.v, d_v).t();
        product((n, n, d_v), grad_o, v, &mut wide.e, n, 0.0);
        narrow(&mut self.grad_v, &wide.grad_v);
        for row in 0..n {
            let (e, scores) = (&wide.e[row * n..][..n], &wide.scores[row * n..][..n]);
            narrow(&mut self.e[row * c..], e);
            for ((m, e), scores) in self.m[row * c..].iter_mut().zip(e).zip(scores) {
                *m = R::of(e * scores);
            }
        }
    }
}

impl LinearAttention {
    /// Backward over the chunks of one head, the last one first.
    #[inline(always)]
    pub(super) fn head_bwd<R: Real>(
        &self,
        x: Inputs<'_, R>,
        head: usize,
        states: &[R],
        grad_o: &[R],
        grads: &mut HeadGrads<'_, '_, R>,
        w: &mut Work<R>,
        bw: &mut BackwardWork<R>,
    ) {
        let (c, d_k, d_v, chunks) = (self.chunk, self.d_k, self.d_v, self.chunks());
        let scale = R::of(f64::from(self.scale));
        bw.grad_state.fill(R::ZERO);
        for i in (0..chunks).rev() {
            let at = self.rows_of(head, i);
            let n = at.values.n;
            let state = &states[(head * chunks + i) * d_k * d_v..][..d_k * d_v];
            let v = at.values.mat(x.v, d_v);
            w.chunk_prep(self, x, at);
            for (to, row) in bw.grad_o.chunks_mut(d_v).zip(0..n) {
                let from = at.values.at(grad_o, d_v, row);
                to.iter_mut().zip(from).for_each(|(to, from)| *to = scale * *from);
            }

            if self.decay == Decay::Scalar {
                bw.wide_products(self, x, at, w);
            } else {
                let (grad_o, grad_state) = (Mat::rows(&bw.grad_o, d_v), Mat::rows(&bw.grad_state, d_v));
                let (decayed_k, scores) = (Mat::rows(&w.decayed_k, d_k), Mat::rows(&w.scores, c));
                product((n, d_v, d_k), decayed_k, grad_state, &mut bw.grad_v, d_v, R::ZERO);
                product((n, d_v, n), scores.t(), grad_o, &mut bw.grad_v, d_v, R::ONE);
                product((n, n, d_v), grad_o, v.t(), &mut bw.e, c, R::ZERO);
            }
            for (to, from) in grads.v[i * c..].iter_mut().zip(bw.grad_v.chunks(d_v)).take(n) {
                to.copy_from_slice(from);
            }
            let (grad_o, grad_state) = (Mat::rows(&bw.grad_o, d_v), Mat::rows(&bw.grad_state, d_v));
            product(
                (n, d_k, d_v),
                grad_o,
                Mat::rows(state, d_v).t(),
                &mut bw.x1,
                d_k,
                R::ZERO,
            );
            product((n, d_k, d_v), v, grad_state.t(), &mut bw.x3, d_k, R::ZERO);
            decay_rows(&mut bw.x1[..n * d_k], &w.decay_in, w.width, d_k);
            decay_rows(&mut bw.x3[..n * d_k], &w.decay_out, w.width, d_k);
            let grad_g: &mut [&mut [R]] = match grads.g.is_empty() {
                true => &mut [],
                false => &mut grads.g[i * c..][..n],
            };
            if self.decay == Decay::Channel {
                self.channel_bwd(x, at, state, w, bw, grad_g);
            } else {
                self.scalar_bwd(x, at, state, w, bw, grad_g);
            }
            for (rows, from) in [(&mut *grads.q, &bw.x1), (&mut *grads.k, &bw.x3)] {
                for (to, from) in rows[i * c..].iter_mut().zip(from.chunks(d_k)).take(n) {
                    if grads.add_keys {
                        to.iter_mut().zip(from).for_each(|(to, from)| *to += *from);
                    } else {
                        to.copy_from_slice(from);
                    }
                }
            }

            w.decayed(&mut bw.grad_before, &bw.grad_state, n, d_v);
            std::mem::swap(&mut bw.grad_state, &mut bw.grad_before);
            let decayed_q = Mat::rows(&w.decayed_q, d_k).t();
            product(
                (d_k, d_v, n),
                decayed_q,
                Mat::rows(&bw.grad_o, d_v),
                &mut bw.grad_state,
                d_v,
                R::ONE,
            );
        }
    }

    /// dQ and dK from X1 and X3, and dg: one decay a token.
    #[inline(always)]
    fn scalar_bwd<R: Real>(
        &self,
        x: Inputs<'_, R>,
        at: ChunkRows,
        state: &[R],
        w: &Work<R>,
        bw: &mut BackwardWork<R>,
        grad_g: &mut [&mut [R]],
    ) {
        let (c, d_k, n) = (self.chunk, self.d_k, at.keys.n);
        if !grad_g.is_empty() {
            let inward = |t: usize| dot_f64(&bw.x1[t * d_k..][..d_k], at.keys.at(x.q, d_k, t));
            let outward = |t: usize| dot_f64(&bw.x3[t * d_k..][..d_k], at.keys.at(x.k, d_k, t));
            let through = w.decay_in[n - 1] * dot_f64(state, &bw.grad_state);
            decay_sums(c, 1, &bw.m, inward, outward, through, &mut bw.columns, grad_g);
        }
        let rows = bw.e.chunks_exact_mut(c).zip(w.gam.chunks_exact(c));
        for (row, (e, gam)) in rows.take(n).enumerate() {
            let (seen, masked) = e.split_at_mut(row + 1);
            for (e, gam) in seen.iter_mut().zip(gam) {
                *e *= *gam;
            }
            masked.fill(R::ZERO);
        }
        let (q, k, e) = (at.keys.mat(x.q, d_k), at.keys.mat(x.k, d_k), Mat::rows(&bw.e, c));
        product((n, d_k, n), e, k, &mut bw.x1, d_k, R::ONE);
        product((n, d_k, n), e.t(), q, &mut bw.x3, d_k, R::ONE);
    }

    /// dQ and dK from X1 and X3, and dg: a decay a channel.
    #[inline(always)]
    fn channel_bwd<R: Real>(
        &self,
        x: Inputs<'_, R>,
        at: ChunkRows,
        state: &[R],
        w: &mut Work<R>,
        bw: &mut BackwardWork<R>,
        grad_g: &mut [&mut [R]],
    ) {
        let (c, d_k, d_v, n) = (self.chunk, self.d_k, self.d_v, at.keys.n);
        bw.grad_q[..n * d_k].fill(R::ZERO);
        bw.grad_k[..n * d_k].fill(R::ZERO);
        let (q, k) = (
            |i: usize| at.keys.at(x.q, d_k, i),
            |j: usize| at.keys.at(x.k, d_k, j),
        );
        w.channels
            .pair_bwd(n, q, k, &bw.e, c, &mut bw.grad_q, &mut bw.grad_k);
        let sums = &mut bw.columns[..d_k];
        for (channel, sum) in sums.iter_mut().enumerate() {
            let row = channel * d_v..(channel + 1) * d_v;
            *sum = w.whole_decay(n, channel) * dot_f64(&state[row.clone()], &bw.grad_state[row]);
        }
        for t in (0..n).rev() {
            let (q, k, at) = (at.keys.at(x.q, d_k, t), at.keys.at(x.k, d_k, t), t * d_k);
            for i in 0..d_k {
                sums[i] += q[i] * (bw.x1[at + i] + bw.grad_q[at + i]) - k[i] * bw.grad_k[at + i];
            }
            grad_g[t].copy_from_slice(sums);
        }
        sums.fill(R::ZERO);
        for t in 0..n {
            let (q, k, e) = (at.keys.at(x.q, d_k, t), at.keys.at(x.k, d_k, t), bw.e[t * c + t]);
            for i in 0..d_k {
                grad_g[t][i] += sums[i];
                sums[i] += k[i] * bw.x3[t * d_k + i];
                bw.x1[t * d_k + i] += bw.grad_q[t * d_k + i] + e * k[i];
                bw.x3[t * d_k + i] += bw.grad_k[t * d_k + i] + e * q[i];
            }
        }
    }
}

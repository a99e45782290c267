//! The delta rule with a decay by key channel: every matrix of a chunk has a row a write, also those of the queries.

use super::backward::HeadGrads;
use super::{ChunkRows, Inputs, invert};
use crate::ops::chunks::channel::Channels;
use crate::ops::chunks::{dot_f64, product};
use crate::ops::delta_rule::DeltaRule;
use crate::twin::Real;
use crate::twin::matmul::Mat;

/// Matrices of one chunk; reused by all chunks that a thread works on.
pub(super) struct ChannelWork<R> {
    channels: Channels<R>,
    /// `[C,d_k]`: decay from the chunk's start to each row, and from each row to the chunk's end.
    decay_in: Vec<R>,
    decay_out: Vec<R>,
    /// `[C,d_k]`: Q with zeros at rows that no query reads, Q * in, K * in and K * out.
    q: Vec<R>,
    q_in: Vec<R>,
    k_in: Vec<R>,
    k_out: Vec<R>,
    beta: Vec<R>,
    /// `[C,C]`: stril pair(K, K) and pair(Q, K).
    lower: Vec<R>,
    scores: Vec<R>,
    /// `[C,d_v]`: V - (K * in) S, that times beta, the values that the chunk writes, and what is read.
    u: Vec<R>,
    r: Vec<R>,
    vn: Vec<R>,
    o: Vec<R>,
}

/// Further matrices of the backward pass.
pub(super) struct ChannelBackward<R> {
    /// `[d_k,d_v]`: dL/d state after the chunk.
    grad_state: Vec<R>,
    /// `[C,d_v]`: scale dO with zeros at rows that no query reads; dVn, dR, dV; prediction errors.
    grad_o: Vec<R>,
    grad_vn: Vec<R>,
    grad_r: Vec<R>,
    grad_v: Vec<R>,
    y: Vec<R>,
    /// `[C,C]`: gradients of pair(Q, K) and of pair(K, K).
    grad_scores: Vec<R>,
    grad_lower: Vec<R>,
    /// `[C,d_k]`: what goes through the states, X1, X2, X3.
    x1: Vec<R>,
    x2: Vec<R>,
    x3: Vec<R>,
    /// `[C,d_k]`: what of dQ and dK decays inside the chunk: of rows as the later and as the earlier one of a pair.
    q_later: Vec<R>,
    k_later: Vec<R>,
    k_earlier: Vec<R>,
    /// `[d_k]`: sums over rows.
    sums: Vec<R>,
}

impl<R: Real> ChannelWork<R> {
    pub(super) fn new(op: &DeltaRule) -> Self {
        let c = op.chunk;
        let zeros = |n: usize| vec![R::ZERO; n];
        let (keys, values) = (|| zeros(c * op.d_k), || zeros(c * op.d_v));
        Self {
            channels: Channels::new(c, op.d_k),
            decay_in: keys(),
            decay_out: keys(),
            q: keys(),
            q_in: keys(),
            k_in: keys(),
            k_out: keys(),
            beta: zeros(c),
            lower: zeros(c * c),
            scores: zeros(c * c),
            u: values(),
            r: values(),
            vn: values(),
            o: values(),
        }
    }

    /// What does not depend on the state: decays, beta, queries and keys with their decays, G and P.
    #[inline(always)]
    fn chunk_prep(&mut self, op: &DeltaRule, x: Inputs<'_, R>, at: ChunkRows) {
        let (c, n, d_k) = (op.chunk, at.rows.n, op.d_k);
        // The log decay of a token acts at its first row.
        let log = |i: usize| {
            let first = i.is_multiple_of(at.householder);
            first.then(|| at.queries.at(x.g, d_k, i / at.householder))
        };
        self.channels
            .factors(n, log, &mut self.decay_in, &mut self.decay_out);
        self.q.fill(R::ZERO);
        for (token, i) in at.reads() {
            self.q[i * d_k..][..d_k].copy_from_slice(at.queries.at(x.q, d_k, token));
        }
        for i in 0..n {
            self.beta[i] = x.beta[at.rows.row_at(i)];
            let k = at.rows.at(x.k, d_k, i);
            for (j, k) in k.iter().enumerate() {
                let here = i * d_k + j;
                self.q_in[here] = self.q[here] * self.decay_in[here];
                self.k_in[here] = *k * self.decay_in[here];
                self.k_out[here] = *k * self.decay_out[here];
            }
        }
        let (queries, key) = (&self.q, |j: usize| at.rows.at(x.k, d_k, j));
        let query = |i: usize| &queries[i * d_k..][..d_k];
        self.channels.pair(n, query, key, &mut self.scores, c);
        self.channels.pair(n, key, key, &mut self.lower, c);
        for i in 0..n {
            self.lower[i * c + i] = R::ZERO;
        }
    }

    /// U, R = diag(beta) U and Vn = Tm R from the state.
    #[inline(always)]
    fn written(&mut self, op: &DeltaRule, x: Inputs<'_, R>, at: ChunkRows, tm: &[R], state: &[R]) {
        let (c, n, d_k, d_v) = (op.chunk, at.rows.n, op.d_k, op.d_v);
        let (k_in, state) = (Mat::rows(&self.k_in, d_k), Mat::rows(state, d_v));
        product((n, d_v, d_k), k_in, state, &mut self.u, d_v, R::ZERO);
        for i in 0..n {
            let beta = self.beta[i];
            let rows = self.u[i * d_v..].iter_mut().zip(&mut self.r[i * d_v..]);
            for ((u, r), v) in rows.zip(at.rows.at(x.v, d_v, i)) {
                *u = *v - *u;
                *r = beta * *u;
            }
        }
        let (tm, r) = (Mat::rows(tm, c), Mat::rows(&self.r, d_v));
        product((n, d_v, n), tm, r, &mut self.vn, d_v, R::ZERO);
    }

    /// Decay of the rows of a state over the whole chunk of `n` rows.
    fn decay_whole(&self, n: usize, d_k: usize) -> &[R] {
        &self.decay_in[(n - 1) * d_k..][..d_k]
    }
}

impl<R: Real> ChannelBackward<R> {
    pub(super) fn new(op: &DeltaRule) -> Self {
        let c = op.chunk;
        let zeros = |n: usize| vec![R::ZERO; n];
        let (keys, values) = (|| zeros(c * op.d_k), || zeros(c * op.d_v));
        Self {
            grad_state: zeros(op.d_k * op.d_v),
            grad_o: values(),
            grad_vn: values(),
            grad_r: values(),
            grad_v: values(),
            y: values(),
            grad_scores: zeros(c * c),
            grad_lower: zeros(c * c),
            x1: keys(),
            x2: keys(),
            x3: keys(),
            q_later: keys(),
            k_later: keys(),
            k_earlier: keys(),
            sums: zeros(op.d_k),
        }
    }
}

impl DeltaRule {
    /// Forward over the chunks of one head: `o` by rows, `tm` and `states` by chunks.
    #[inline(always)]
    pub(super) fn channel_fwd<R: Real>(
        &self,
        x: Inputs<'_, R>,
        head: usize,
        mut o: Vec<&mut [R]>,
        tm: &mut [R],
        states: &mut [R],
        w: &mut ChannelWork<R>,
    ) {
        let (c, d_k, d_v) = (self.chunk, self.d_k, self.d_v);
        let scale = R::of(f64::from(self.scale));
        states[..d_k * d_v].fill(R::ZERO);
        for (i, tm) in tm.chunks_mut(c * c).enumerate() {
            let at = ChunkRows::new(self, head, i);
            let n = at.rows.n;
            let (before, after) = states.split_at_mut((i + 1) * d_k * d_v);
            let state = &before[i * d_k * d_v..];
            w.chunk_prep(self, x, at);
            invert(c, n, &w.beta, &w.lower, tm);
            w.written(self, x, at, tm, state);

            let q_in = Mat::rows(&w.q_in, d_k);
            product((n, d_v, d_k), q_in, Mat::rows(state, d_v), &mut w.o, d_v, R::ZERO);
            let (scores, vn) = (Mat::rows(&w.scores, c), Mat::rows(&w.vn, d_v));
            product((n, d_v, n), scores, vn, &mut w.o, d_v, R::ONE);
            for (token, row) in at.reads() {
                let to = o[i * self.chunk_tokens() + token].iter_mut();
                to.zip(&w.o[row * d_v..]).for_each(|(to, o)| *to = scale * *o);
            }
            if !after.is_empty() {
                let next = &mut after[..d_k * d_v];
                let rows = next.chunks_mut(d_v).zip(state.chunks(d_v));
                for ((next, was), a) in rows.zip(w.decay_whole(n, d_k)) {
                    next.iter_mut().zip(was).for_each(|(next, was)| *next = *a * *was);
                }
                let k_out = Mat::rows(&w.k_out, d_k).t();
                product((d_k, d_v, n), k_out, vn, next, d_v, R::ONE);
            }
        }
    }

    /// Backward over the chunks of one head, the last one first.
    #[inline(always)]
    pub(super) fn channel_bwd<R: Real>(
        &self,
        x: Inputs<'_, R>,
        head: usize,
        tm: &[R],
        states: &[R],
        grad_o: &[R],
        mut grads: HeadGrads<'_, R>,
        w: &mut ChannelWork<R>,
        bw: &mut ChannelBackward<R>,
    ) {
        let (c, d_k, d_v, chunks) = (self.chunk, self.d_k, self.d_v, self.chunks());
        let scale = R::of(f64::from(self.scale));
        bw.grad_state.fill(R::ZERO);
        for i in (0..chunks).rev() {
            let at = ChunkRows::new(self, head, i);
            let n = at.rows.n;
            let tm = &tm[(head * chunks + i) * c * c..][..c * c];
            let state = &states[(head * chunks + i) * d_k * d_v..][..d_k * d_v];
            w.chunk_prep(self, x, at);
            w.written(self, x, at, tm, state);
            bw.grad_o.fill(R::ZERO);
            for (token, row) in at.reads() {
                let from = at.queries.at(grad_o, d_v, token);
                let to = bw.grad_o[row * d_v..].iter_mut();
                to.zip(from).for_each(|(to, from)| *to = scale * *from);
            }
            self.channel_values_bwd(at, tm, w, bw, &mut grads);

            let (vn, grad_o) = (Mat::rows(&w.vn, d_v), Mat::rows(&bw.grad_o, d_v));
            let grad_v = Mat::rows(&bw.grad_v, d_v);
            product((n, n, d_v), grad_o, vn.t(), &mut bw.grad_scores, c, R::ZERO);
            product((n, n, d_v), grad_v, vn.t(), &mut bw.grad_lower, c, R::ZERO);
            bw.grad_lower.iter_mut().for_each(|x| *x = -*x);
            let (state, grad_state) = (Mat::rows(state, d_v), Mat::rows(&bw.grad_state, d_v));
            product((n, d_k, d_v), grad_o, state.t(), &mut bw.x1, d_k, R::ZERO);
            product((n, d_k, d_v), grad_v, state.t(), &mut bw.x2, d_k, R::ZERO);
            product((n, d_k, d_v), vn, grad_state.t(), &mut bw.x3, d_k, R::ZERO);
            for here in 0..n * d_k {
                bw.x1[here] *= w.decay_in[here];
                bw.x2[here] *= w.decay_in[here];
                bw.x3[here] *= w.decay_out[here];
            }
            self.channel_keys_bwd(x, at, state.data, w, bw, &mut grads);

            let rows = bw.grad_state.chunks_mut(d_v).zip(w.decay_whole(n, d_k));
            rows.for_each(|(row, a)| row.iter_mut().for_each(|x| *x *= *a));
            bw.grad_v.iter_mut().for_each(|x| *x = -*x);
            let (q_in, k_in) = (Mat::rows(&w.q_in, d_k).t(), Mat::rows(&w.k_in, d_k).t());
            let (grad_o, grad_v) = (Mat::rows(&bw.grad_o, d_v), Mat::rows(&bw.grad_v, d_v));
            product((d_k, d_v, n), q_in, grad_o, &mut bw.grad_state, d_v, R::ONE);
            product((d_k, d_v, n), k_in, grad_v, &mut bw.grad_state, d_v, R::ONE);
        }
    }

    /// dVn, dR, dV and dbeta of a chunk.
    #[inline(always)]
    fn channel_values_bwd<R: Real>(
        &self,
        at: ChunkRows,
        tm: &[R],
        w: &ChannelWork<R>,
        bw: &mut ChannelBackward<R>,
        grads: &mut HeadGrads<'_, R>,
    ) {
        let (c, d_k, d_v, n) = (self.chunk, self.d_k, self.d_v, at.rows.n);
        let (k_out, grad_state) = (Mat::rows(&w.k_out, d_k), Mat::rows(&bw.grad_state, d_v));
        product((n, d_v, d_k), k_out, grad_state, &mut bw.grad_vn, d_v, R::ZERO);
        let (scores, grad_o) = (Mat::rows(&w.scores, c), Mat::rows(&bw.grad_o, d_v));
        product((n, d_v, n), scores.t(), grad_o, &mut bw.grad_vn, d_v, R::ONE);
        let (tm, grad_vn) = (Mat::rows(tm, c), Mat::rows(&bw.grad_vn, d_v));
        product((n, d_v, n), tm.t(), grad_vn, &mut bw.grad_r, d_v, R::ZERO);
        let (lower, vn) = (Mat::rows(&w.lower, c), Mat::rows(&w.vn, d_v));
        product((n, d_v, n), lower, vn, &mut bw.y, d_v, R::ZERO);
        let first = at.rows_before(self);
        for row in 0..n {
            let range = row * d_v..(row + 1) * d_v;
            for (y, u) in bw.y[range.clone()].iter_mut().zip(&w.u[range.clone()]) {
                *y = *u - *y;
            }
            for (grad_v, grad_r) in bw.grad_v[range.clone()].iter_mut().zip(&bw.grad_r[range.clone()]) {
                *grad_v = w.beta[row] * *grad_r;
            }
            grads.beta[first + row][0] = dot_f64(&bw.grad_r[range.clone()], &bw.y[range.clone()]);
            grads.v[first + row].copy_from_slice(&bw.grad_v[range]);
        }
    }

    /// dQ, dK and dgk of a chunk from the gradients of the two pair sums and from X1, X2, X3.
    #[inline(always)]
    fn channel_keys_bwd<R: Real>(
        &self,
        x: Inputs<'_, R>,
        at: ChunkRows,
        state: &[R],
        w: &mut ChannelWork<R>,
        bw: &mut ChannelBackward<R>,
        grads: &mut HeadGrads<'_, R>,
    ) {
        let (c, d_k, d_v, n) = (self.chunk, self.d_k, self.d_v, at.rows.n);
        let (queries, key) = (&w.q, |j: usize| at.rows.at(x.k, d_k, j));
        let query = |i: usize| &queries[i * d_k..][..d_k];
        for x in [&mut bw.q_later, &mut bw.k_later, &mut bw.k_earlier] {
            x.fill(R::ZERO);
        }
        let channels = &mut w.channels;
        let (later, earlier) = (&mut bw.q_later, &mut bw.k_earlier);
        channels.pair_bwd(n, query, key, &bw.grad_scores, c, later, earlier);
        let (later, earlier) = (&mut bw.k_later, &mut bw.k_earlier);
        channels.pair_bwd(n, key, key, &bw.grad_lower, c, later, earlier);

        let tokens = at.tokens_before(self);
        let sums = &mut bw.sums;
        for (channel, sum) in sums.iter_mut().enumerate() {
            let row = channel * d_v..(channel + 1) * d_v;
            *sum = w.decay_in[(n - 1) * d_k + channel] * dot_f64(&state[row.clone()], &bw.grad_state[row]);
        }
        for i in (0..n).rev() {
            let (q, k, here) = (query(i), key(i), i * d_k);
            for j in 0..d_k {
                let of_key = bw.k_later[here + j] - bw.k_earlier[here + j] - bw.x2[here + j];
                sums[j] += q[j] * (bw.q_later[here + j] + bw.x1[here + j]) + k[j] * of_key;
            }
            if i.is_multiple_of(at.householder) {
                grads.g[tokens + i / at.householder].copy_from_slice(sums);
            }
        }
        sums.fill(R::ZERO);
        let first = at.rows_before(self);
        for i in 0..n {
            let (q, k, here, diagonal) = (query(i), key(i), i * d_k, bw.grad_scores[i * c + i]);
            if i.is_multiple_of(at.householder) {
                let grad_g = grads.g[tokens + i / at.householder].iter_mut();
                grad_g.zip(&*sums).for_each(|(g, sum)| *g += *sum);
            }
            let grad_k = &mut grads.k[first + i];
            for j in 0..d_k {
                sums[j] += k[j] * bw.x3[here + j];
                let inside = bw.k_later[here + j] + bw.k_earlier[here + j] + diagonal * q[j];
                grad_k[j] = inside + (bw.x3[here + j] - bw.x2[here + j]);
            }
        }
        for (token, i) in at.reads() {
            let (k, here, diagonal) = (key(i), i * d_k, bw.grad_scores[i * c + i]);
            let grad_q = &mut grads.q[tokens + token];
            for j in 0..d_k {
                grad_q[j] = bw.q_later[here + j] + diagonal * k[j] + bw.x1[here + j];
            }
        }
    }
}

mod backward;
mod channel;
mod refine;

use self::backward::{BackwardWork, HeadGrads};
use self::channel::{ChannelBackward, ChannelWork};
use self::refine::Stiff;
use super::DeltaRule;
use crate::ops::Decay;
use crate::ops::chunks::{
    Chunk, clamped, decay_factors, head_rows, product, retention_log_decay, scale_rows,
};
use crate::ops::reduce::wanted_or;
use crate::step::StepParams;
use crate::twin::matmul::Mat;
use crate::twin::{CpuOp, Real, Slices, vectorize};
use rayon::prelude::*;

/// Forward inputs.
#[derive(Clone, Copy)]
struct Inputs<'a, R> {
    q: &'a [R],
    k: &'a [R],
    v: &'a [R],
    beta: &'a [R],
    /// Log decays; empty where the op has none as an input.
    g: &'a [R],
}

impl<'a, R: Real> Inputs<'a, R> {
    fn new(io: &Slices<'a, R>) -> Self {
        Self {
            q: io.read("q"),
            k: io.read("k"),
            v: io.read("v"),
            beta: io.read("beta"),
            g: io.read_if("g").or(io.read_if("gk")).unwrap_or(&[]),
        }
    }
}

/// One chunk of one head.
#[derive(Clone, Copy)]
struct ChunkRows {
    head: usize,
    chunk: usize,
    /// Where its steps are, in `[B,T n,H]`.
    rows: Chunk,
    /// Where its tokens are, in `[B,T,H]`.
    queries: Chunk,
    /// Steps of a token.
    householder: usize,
}

impl ChunkRows {
    fn new(op: &DeltaRule, head: usize, chunk: usize) -> Self {
        let (t, h, n, first) = (op.t, op.h, op.householder, chunk * op.chunk_tokens());
        let tokens = op.chunk_tokens().min(t - first);
        Self {
            head,
            chunk,
            rows: Chunk::new(head, t * n, h, first * n, tokens * n),
            queries: Chunk::new(head, t, h, first, tokens),
            householder: n,
        }
    }

    /// Tokens of the head before the chunk.
    fn tokens_before(self, op: &DeltaRule) -> usize {
        self.chunk * op.chunk_tokens()
    }

    /// Rows of the head before the chunk.
    fn rows_before(self, op: &DeltaRule) -> usize {
        self.tokens_before(op) * self.householder
    }

    /// The tokens with the row at which each is read: its last.
    fn reads(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.queries.n).map(move |token| (token, (token + 1) * self.householder - 1))
    }
}

/// Matrices of one chunk; reused by all chunks that a thread works on.
struct Work<R> {
    /// `[C]`: decay from the chunk's start to each step.
    decay_in: Vec<R>,
    /// `[C]`: decay from each step to the chunk's end.
    decay_out: Vec<R>,
    beta: Vec<R>,
    /// `[C,C]`, lower triangle with diagonal: decay from step j to step i.
    gam: Vec<R>,
    /// `[C,C]`: G = stril(K K^T * Gam).
    lower: Vec<R>,
    /// `[C / n,C]`: tril(Q K^T * Gam).
    scores: Vec<R>,
    /// `[C,d_v]`: V - diag(in) K S.
    u: Vec<R>,
    /// `[C,d_v]`: diag(beta) u.
    r: Vec<R>,
    /// `[C,d_v]`: the values that the chunk writes.
    vn: Vec<R>,
    /// `[C / n,d_v]`.
    o: Vec<R>,
    stiff: Stiff<R>,
}

impl<R: Real> Work<R> {
    fn new(op: &DeltaRule) -> Self {
        let c = op.chunk;
        let zeros = |n: usize| vec![R::ZERO; n];
        Self {
            decay_in: zeros(c),
            decay_out: zeros(c),
            beta: zeros(c),
            gam: zeros(c * c),
            lower: zeros(c * c),
            scores: zeros(op.chunk_tokens() * c),
            u: zeros(c * op.d_v),
            r: zeros(c * op.d_v),
            vn: zeros(c * op.d_v),
            o: zeros(op.chunk_tokens() * op.d_v),
            stiff: Stiff::new(op),
        }
    }

    /// What does not depend on the state: decays, beta, G and P.
    fn chunk_prep(&mut self, op: &DeltaRule, x: Inputs<'_, R>, at: ChunkRows) {
        let (c, n, d_k) = (op.chunk, at.rows.n, op.d_k);
        // The log decay of a token acts at its first row.
        let constant = match op.decay {
            Decay::Constant => R::of(retention_log_decay(at.head % op.h)),
            _ => R::ZERO,
        };
        let log_decay = |i: usize| match op.decay {
            _ if !i.is_multiple_of(at.householder) => R::ZERO,
            Decay::Scalar => clamped(at.queries.at(x.g, 1, i / at.householder)[0]),
            _ => constant,
        };
        decay_factors(
            n,
            c,
            log_decay,
            &mut self.decay_in,
            &mut self.decay_out,
            &mut self.gam,
        );
        for i in 0..n {
            self.beta[i] = x.beta[at.rows.row_at(i)];
        }
        let (q, k) = (at.queries.mat(x.q, d_k), at.rows.mat(x.k, d_k));
        product((n, n, d_k), k, k.t(), &mut self.lower, c, R::ZERO);
        product((at.queries.n, n, d_k), q, k.t(), &mut self.scores, c, R::ZERO);
        // The upper triangle of a product may hold anything, also infinities.
        vectorize(
            #[inline(always)]
            || {
                let decay = |row: &mut [R], gam: &[R], n: usize| {
                    row[..n].iter_mut().zip(gam).for_each(|(x, gam)| *x *= *gam);
                    row[n..].fill(R::ZERO);
                };
                let rows = self.lower.chunks_exact_mut(c).zip(self.gam.chunks_exact(c));
                for (i, (row, gam)) in rows.take(n).enumerate() {
                    decay(row, gam, i);
                }
                for (token, i) in at.reads() {
                    let row = &mut self.scores[token * c..][..c];
                    decay(row, &self.gam[i * c..], i + 1);
                }
            },
        );
        self.look_at_keys(op, x, at);
    }

    /// U, R = diag(beta) U and Vn = Tm R from the state, zero in the first chunk.
    fn written(&mut self, op: &DeltaRule, x: Inputs<'_, R>, at: ChunkRows, tm: &[R], state: &[R]) {
        let (c, n, d_k, d_v) = (op.chunk, at.rows.n, op.d_k, op.d_v);
        if at.chunk > 0 {
            let (k, state) = (at.rows.mat(x.k, d_k), Mat::rows(state, d_v));
            product((n, d_v, d_k), k, state, &mut self.u, d_v, R::ZERO);
        }
        vectorize(
            #[inline(always)]
            || {
                let rows = self.u.chunks_exact_mut(d_v).zip(self.r.chunks_exact_mut(d_v));
                for (i, (u, r)) in rows.take(n).enumerate() {
                    let (decay, beta, v) = (self.decay_in[i], self.beta[i], at.rows.at(x.v, d_v, i));
                    if at.chunk == 0 {
                        u.copy_from_slice(v);
                    } else {
                        u.iter_mut().zip(v).for_each(|(u, v)| *u = *v - decay * *u);
                    }
                    r.iter_mut().zip(u).for_each(|(r, u)| *r = beta * *u);
                }
            },
        );
        let (tm_rows, r) = (Mat::rows(tm, c), Mat::rows(&self.r, d_v));
        product((n, d_v, n), tm_rows, r, &mut self.vn, d_v, R::ZERO);
        self.stiff.refine(op, n, tm, false, &self.r, &mut self.vn);
    }
}

/// Columns of a row of the inverse, or of residuals, that are computed at once, in registers.
const COLUMNS: usize = 16;

/// Tm = (I + diag(beta) G)^-1 by forward substitution, of the first `n` of `c` rows; `lower` is G.
fn invert<R: Real>(c: usize, n: usize, beta: &[R], lower: &[R], tm: &mut [R]) {
    vectorize(
        #[inline(always)]
        || {
            tm.fill(R::ZERO);
            for i in 0..c {
                let (above, rest) = tm.split_at_mut(i * c);
                let row = &mut rest[..c];
                row[i] = R::ONE;
                if i >= n {
                    continue;
                }
                let (beta, lower) = (beta[i], &lower[i * c..][..i]);
                let blocks = row.as_chunks_mut::<COLUMNS>().0.iter_mut();
                for (first, x) in (0..i).step_by(COLUMNS).zip(blocks) {
                    // Rows above the first column of the block are zero in it.
                    let rows = above[first * c..].chunks_exact(c);
                    let mut sum = *x;
                    for (g, up) in lower[first..].iter().zip(rows) {
                        let (factor, up) = (beta * *g, &up[first..][..COLUMNS]);
                        for l in 0..COLUMNS {
                            sum[l] -= factor * up[l];
                        }
                    }
                    *x = sum;
                }
            }
        },
    );
}

/// Queries and keys at unit length, and what they were multiplied by.
struct UnitRows<R> {
    q: (Vec<R>, Vec<R>),
    k: (Vec<R>, Vec<R>),
}

impl<R: Real> UnitRows<R> {
    fn of(op: &DeltaRule, x: Inputs<'_, R>) -> Self {
        let rows = |x: &[R], per_token| {
            let norm = op.norm(per_token);
            let (mut y, mut r) = (vec![R::ZERO; x.len()], vec![R::ZERO; norm.rows]);
            norm.normalise(x, &mut y, &mut r);
            (y, r)
        };
        Self {
            q: rows(x.q, 1),
            k: rows(x.k, op.householder),
        }
    }
}

impl CpuOp for DeltaRule {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let mut x = Inputs::new(&io);
        let unit = self.unit.then(|| UnitRows::of(self, x));
        if let Some(unit) = &unit {
            (x.q, x.k) = (&unit.q.0, &unit.k.0);
        }
        let (o, tm, states) = (io.write("o"), io.write("tm"), io.write("states"));
        let heads = head_rows(o, self.d_v, self.t, self.h);
        let per_head = tm.len() / heads.len();
        let per_state = states.len() / heads.len();
        let heads = heads
            .into_par_iter()
            .zip(tm.par_chunks_mut(per_head))
            .zip(states.par_chunks_mut(per_state))
            .enumerate();
        if self.decay == Decay::Channel {
            heads.for_each_init(
                || ChannelWork::new(self),
                |w, (head, ((o, tm), states))| {
                    vectorize(
                        #[inline(always)]
                        || self.channel_fwd(x, head, o, tm, states, w),
                    );
                },
            );
        } else {
            heads.for_each_init(
                || Work::new(self),
                |w, (head, ((o, tm), states))| self.head_fwd(x, head, o, tm, states, w),
            );
        }
    }

    fn cpu_bwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let mut x = Inputs::new(&io);
        let unit = self.unit.then(|| UnitRows::of(self, x));
        if let Some(unit) = &unit {
            (x.q, x.k) = (&unit.q.0, &unit.k.0);
        }
        let (tm, states, grad_o) = (io.read("tm"), io.read("states"), io.grad("o"));
        // Gradients that nobody wants still need a place.
        let mut spare: [Vec<R>; 5] = Default::default();
        let [spare_q, spare_k, spare_v, spare_beta, spare_g] = &mut spare;
        let (t, h, rows) = (self.t, self.h, self.t * self.householder);
        let of_q = wanted_or(io.wanted("q"), spare_q, x.q.len());
        let of_k = wanted_or(io.wanted("k"), spare_k, x.k.len());
        let room = |len: usize| vec![R::ZERO; if self.unit { len } else { 0 }];
        let (mut unit_q, mut unit_k) = (room(x.q.len()), room(x.k.len()));
        let (to_q, to_k) = match self.unit {
            true => (&mut unit_q[..], &mut unit_k[..]),
            false => (&mut *of_q, &mut *of_k),
        };
        let grad_q = head_rows(to_q, self.d_k, t, h);
        let grad_k = head_rows(to_k, self.d_k, rows, h);
        let grad_v = head_rows(wanted_or(io.wanted("v"), spare_v, x.v.len()), self.d_v, rows, h);
        let grad_beta = head_rows(wanted_or(io.wanted("beta"), spare_beta, x.beta.len()), 1, rows, h);
        let wanted_g = io.wanted("g").or(io.wanted("gk"));
        let grad_g = match self.decay.width(self.d_k) {
            width @ 1.. => head_rows(wanted_or(wanted_g, spare_g, x.g.len()), width, t, h),
            0 => (0..self.b * h).map(|_| Vec::new()).collect(),
        };
        let heads: Vec<HeadGrads<'_, R>> = grad_q
            .into_iter()
            .zip(grad_k)
            .zip(grad_v)
            .zip(grad_beta.into_iter().zip(grad_g))
            .map(|(((q, k), v), (beta, g))| HeadGrads { q, k, v, beta, g })
            .collect();
        let heads = heads.into_par_iter().enumerate();
        if self.decay == Decay::Channel {
            heads.for_each_init(
                || (ChannelWork::new(self), ChannelBackward::new(self)),
                |(w, bw), (head, grads)| {
                    vectorize(
                        #[inline(always)]
                        || self.channel_bwd(x, head, tm, states, grad_o, grads, w, bw),
                    );
                },
            );
        } else {
            heads.for_each_init(
                || (Work::new(self), BackwardWork::new(self)),
                |(w, bw), (head, grads)| self.head_bwd(x, head, tm, states, grad_o, grads, w, bw),
            );
        }
        if let Some(UnitRows { q, k }) = &unit {
            self.norm(1).normalise_bwd(&q.0, &q.1, &unit_q, of_q);
            self.norm(self.householder)
                .normalise_bwd(&k.0, &k.1, &unit_k, of_k);
        }
    }
}

impl DeltaRule {
    /// Forward over the chunks of one head: `o` by rows, `tm` and `states` by chunks.
    fn head_fwd<R: Real>(
        &self,
        x: Inputs<'_, R>,
        head: usize,
        mut o: Vec<&mut [R]>,
        tm: &mut [R],
        states: &mut [R],
        w: &mut Work<R>,
    ) {
        let (c, d_k, d_v) = (self.chunk, self.d_k, self.d_v);
        let scale = R::of(f64::from(self.scale));
        states[..d_k * d_v].fill(R::ZERO);
        for (i, tm) in tm.chunks_mut(c * c).enumerate() {
            let at = ChunkRows::new(self, head, i);
            let (n, queries) = (at.rows.n, at.queries.n);
            let (before, after) = states.split_at_mut((i + 1) * d_k * d_v);
            let state = &before[i * d_k * d_v..];
            w.chunk_prep(self, x, at);
            invert(c, n, &w.beta, &w.lower, tm);
            w.written(self, x, at, tm, state);

            if i > 0 {
                let (q, state) = (at.queries.mat(x.q, d_k), Mat::rows(state, d_v));
                product((queries, d_v, d_k), q, state, &mut w.o, d_v, R::ZERO);
                for (token, row) in at.reads() {
                    let decay = w.decay_in[row];
                    w.o[token * d_v..][..d_v].iter_mut().for_each(|x| *x *= decay);
                }
            }
            let (scores, vn) = (Mat::rows(&w.scores, c), Mat::rows(&w.vn, d_v));
            let keep = if i > 0 { R::ONE } else { R::ZERO };
            product((queries, d_v, n), scores, vn, &mut w.o, d_v, keep);
            let o = o[i * self.chunk_tokens()..].iter_mut();
            for (to, from) in o.zip(w.o.chunks(d_v)).take(queries) {
                to.iter_mut().zip(from).for_each(|(to, from)| *to = scale * *from);
            }

            if !after.is_empty() {
                let next = &mut after[..d_k * d_v];
                let a = w.decay_in[n - 1];
                next.iter_mut()
                    .zip(state)
                    .for_each(|(next, was)| *next = a * *was);
                scale_rows(&mut w.r, &w.vn, &w.decay_out[..n], d_v);
                let (k, r) = (at.rows.mat(x.k, d_k).t(), Mat::rows(&w.r, d_v));
                product((d_k, d_v, n), k, r, next, d_v, R::ONE);
            }
        }
    }
}

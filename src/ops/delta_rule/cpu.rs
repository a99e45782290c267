mod backward;

use self::backward::{BackwardWork, HeadGrads};
use super::DeltaRule;
use crate::ops::chunks::{Chunk, clamped, decay_factors, head_rows, product, scale_rows};
use crate::ops::reduce::wanted_or;
use crate::step::StepParams;
use crate::twin::CpuOp;
use crate::twin::matmul::Mat;
use crate::twin::{In, Out, Real};
use rayon::prelude::*;

/// Forward inputs.
#[derive(Clone, Copy)]
struct Inputs<'a, R> {
    q: &'a [R],
    k: &'a [R],
    v: &'a [R],
    beta: &'a [R],
    g: Option<&'a [R]>,
}

impl<'a, R: Real> Inputs<'a, R> {
    fn new(op: &DeltaRule, ins: &[In<'a, R>]) -> Self {
        Self {
            q: ins[0].real(),
            k: ins[1].real(),
            v: ins[2].real(),
            beta: ins[3].real(),
            g: op.gated.then(|| ins[4].real()),
        }
    }
}

/// One chunk of one head.
#[derive(Clone, Copy)]
struct Place {
    /// Where its steps are, in `[B,T n,H]`.
    rows: Chunk,
    /// Where its tokens are, in `[B,T,H]`.
    queries: Chunk,
    /// Steps of a token.
    steps: usize,
}

impl Place {
    fn new(op: &DeltaRule, head: usize, chunk: usize) -> Self {
        let (t, h, n, first) = (op.t, op.h, op.steps, chunk * op.chunk_tokens());
        let tokens = op.chunk_tokens().min(t - first);
        Self {
            rows: Chunk::new(head, t * n, h, first * n, tokens * n),
            queries: Chunk::new(head, t, h, first, tokens),
            steps: n,
        }
    }

    /// The tokens with the step at which each is read: its last.
    fn reads(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.queries.n).map(move |token| (token, (token + 1) * self.steps - 1))
    }
}

/// Matrices of one chunk; reused by all chunks that a thread works on.
struct Work<R> {
    /// `[C]`: decay from the chunk's start to each step.
    p: Vec<R>,
    /// `[C]`: decay from each step to the chunk's end.
    s: Vec<R>,
    beta: Vec<R>,
    /// `[C,C]`, lower triangle with diagonal: decay from step j to step i.
    gam: Vec<R>,
    /// `[C,C]`: stril(K K^T * Gam).
    g: Vec<R>,
    /// `[C / n,C]`: tril(Q K^T * Gam).
    qk: Vec<R>,
    /// `[C,d_v]`: V - diag(p) K S.
    u: Vec<R>,
    /// `[C,d_v]`: diag(beta) u.
    r: Vec<R>,
    /// `[C,d_v]`: the values that the chunk writes.
    vn: Vec<R>,
    /// `[C / n,d_v]`.
    o: Vec<R>,
}

impl<R: Real> Work<R> {
    fn new(op: &DeltaRule) -> Self {
        let c = op.chunk;
        let zeros = |n: usize| vec![R::ZERO; n];
        Self {
            p: zeros(c),
            s: zeros(c),
            beta: zeros(c),
            gam: zeros(c * c),
            g: zeros(c * c),
            qk: zeros(op.chunk_tokens() * c),
            u: zeros(c * op.dv),
            r: zeros(c * op.dv),
            vn: zeros(c * op.dv),
            o: zeros(op.chunk_tokens() * op.dv),
        }
    }

    /// What does not depend on the state: decays, beta, G and P.
    fn prepare(&mut self, op: &DeltaRule, x: Inputs<'_, R>, at: Place) {
        let (c, n, dk) = (op.chunk, at.rows.n, op.dk);
        // The log decay of a token acts at its first step.
        let log_decay = |i: usize| match x.g {
            Some(g) if i.is_multiple_of(at.steps) => clamped(at.queries.at(g, 1, i / at.steps)[0]),
            _ => R::ZERO,
        };
        decay_factors(n, c, log_decay, &mut self.p, &mut self.s, &mut self.gam);
        for i in 0..n {
            self.beta[i] = x.beta[at.rows.row_at(i)];
        }
        let (q, k) = (at.queries.mat(x.q, dk), at.rows.mat(x.k, dk));
        product((n, n, dk), k, k.t(), &mut self.g, c, R::ZERO);
        product((at.queries.n, n, dk), q, k.t(), &mut self.qk, c, R::ZERO);
        let decay = |row: &mut [R], gam: &[R]| row.iter_mut().zip(gam).for_each(|(x, gam)| *x *= *gam);
        // The upper triangle of a product may hold anything, also infinities.
        for i in 0..n {
            let row = &mut self.g[i * c..][..c];
            decay(&mut row[..i], &self.gam[i * c..]);
            row[i..].fill(R::ZERO);
        }
        for (token, i) in at.reads() {
            let row = &mut self.qk[token * c..][..c];
            decay(&mut row[..=i], &self.gam[i * c..]);
            row[i + 1..].fill(R::ZERO);
        }
    }

    /// Tm = (I + diag(beta) G)^-1 by forward substitution.
    fn invert(&self, c: usize, n: usize, tm: &mut [R]) {
        tm.fill(R::ZERO);
        for i in 0..c {
            let (above, rest) = tm.split_at_mut(i * c);
            rest[i] = R::ONE;
            if i < n {
                for j in 0..i {
                    let factor = self.beta[i] * self.g[i * c + j];
                    for (x, up) in rest[..=j].iter_mut().zip(&above[j * c..]) {
                        *x -= factor * *up;
                    }
                }
            }
        }
    }

    /// U, R = diag(beta) U and Vn = Tm R from the state.
    fn values(&mut self, op: &DeltaRule, x: Inputs<'_, R>, at: Place, tm: &[R], s: &[R]) {
        let (c, n, dk, dv) = (op.chunk, at.rows.n, op.dk, op.dv);
        product(
            (n, dv, dk),
            at.rows.mat(x.k, dk),
            Mat::rows(s, dv),
            &mut self.u,
            dv,
            R::ZERO,
        );
        for i in 0..n {
            let (p, beta) = (self.p[i], self.beta[i]);
            let rows = self.u[i * dv..][..dv].iter_mut().zip(&mut self.r[i * dv..][..dv]);
            for ((u, r), v) in rows.zip(at.rows.at(x.v, dv, i)) {
                *u = *v - p * *u;
                *r = beta * *u;
            }
        }
        product(
            (n, dv, n),
            Mat::rows(tm, c),
            Mat::rows(&self.r, dv),
            &mut self.vn,
            dv,
            R::ZERO,
        );
    }
}

impl CpuOp for DeltaRule {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, ins: &[In<'_, R>], outs: &mut [Out<'_, R>]) {
        let x = Inputs::new(self, ins);
        let [o, tm, s] = outs else {
            unreachable!("the ports say three outputs")
        };
        let (tm, s) = (tm.real(), s.real());
        let heads = head_rows(o.real(), self.dv, self.t, self.h);
        let per_head = tm.len() / heads.len();
        let states = s.len() / heads.len();
        heads
            .into_par_iter()
            .zip(tm.par_chunks_mut(per_head))
            .zip(s.par_chunks_mut(states))
            .enumerate()
            .for_each_init(
                || Work::new(self),
                |w, (head, ((o, tm), s))| self.head_fwd(x, head, o, tm, s, w),
            );
    }

    fn cpu_bwd<R: Real>(
        &self,
        _step: &StepParams,
        ins: &[In<'_, R>],
        outs: &[In<'_, R>],
        d_outs: &[In<'_, R>],
        d_ins: &mut [Out<'_, R>],
    ) {
        let x = Inputs::new(self, ins);
        let (tm, s, d_o) = (outs[1].real(), outs[2].real(), d_outs[0].real());
        let [d_q, d_k, d_v, d_beta, d_g @ ..] = d_ins else {
            unreachable!("q, k, v and beta come first")
        };
        // Gradients that nobody wants still need a place.
        let mut spare: [Vec<R>; 5] = Default::default();
        let [spare_q, spare_k, spare_v, spare_beta, spare_g] = &mut spare;
        let (t, h, rows) = (self.t, self.h, self.t * self.steps);
        let d_q = head_rows(wanted_or(d_q, spare_q, x.q.len()), self.dk, t, h);
        let d_k = head_rows(wanted_or(d_k, spare_k, x.k.len()), self.dk, rows, h);
        let d_v = head_rows(wanted_or(d_v, spare_v, x.v.len()), self.dv, rows, h);
        let d_beta = head_rows(wanted_or(d_beta, spare_beta, x.beta.len()), 1, rows, h);
        let d_g = match d_g.first_mut() {
            Some(d_g) => head_rows(wanted_or(d_g, spare_g, self.b * t * h), 1, t, h),
            None => (0..self.b * h).map(|_| Vec::new()).collect(),
        };
        let heads: Vec<HeadGrads<'_, R>> = d_q
            .into_iter()
            .zip(d_k)
            .zip(d_v)
            .zip(d_beta.into_iter().zip(d_g))
            .map(|(((q, k), v), (beta, g))| HeadGrads { q, k, v, beta, g })
            .collect();
        heads.into_par_iter().enumerate().for_each_init(
            || (Work::new(self), BackwardWork::new(self)),
            |(w, bw), (head, grads)| self.head_bwd(x, head, tm, s, d_o, grads, w, bw),
        );
    }
}

impl DeltaRule {
    /// Forward over the chunks of one head: `o` by rows, `tm` and `s` by chunks.
    fn head_fwd<R: Real>(
        &self,
        x: Inputs<'_, R>,
        head: usize,
        mut o: Vec<&mut [R]>,
        tm: &mut [R],
        s: &mut [R],
        w: &mut Work<R>,
    ) {
        let (c, dk, dv) = (self.chunk, self.dk, self.dv);
        let scale = R::of(f64::from(self.scale));
        s[..dk * dv].fill(R::ZERO);
        for (i, tm) in tm.chunks_mut(c * c).enumerate() {
            let at = Place::new(self, head, i);
            let (n, queries) = (at.rows.n, at.queries.n);
            let (before, after) = s.split_at_mut((i + 1) * dk * dv);
            let state = &before[i * dk * dv..];
            w.prepare(self, x, at);
            w.invert(c, n, tm);
            w.values(self, x, at, tm, state);

            product(
                (queries, dv, dk),
                at.queries.mat(x.q, dk),
                Mat::rows(state, dv),
                &mut w.o,
                dv,
                R::ZERO,
            );
            for (token, row) in at.reads() {
                let p = w.p[row];
                w.o[token * dv..][..dv].iter_mut().for_each(|x| *x *= p);
            }
            product(
                (queries, dv, n),
                Mat::rows(&w.qk, c),
                Mat::rows(&w.vn, dv),
                &mut w.o,
                dv,
                R::ONE,
            );
            let o = o[i * self.chunk_tokens()..].iter_mut();
            for (to, from) in o.zip(w.o.chunks(dv)).take(queries) {
                to.iter_mut().zip(from).for_each(|(to, from)| *to = scale * *from);
            }

            if !after.is_empty() {
                let next = &mut after[..dk * dv];
                let a = w.p[n - 1];
                next.iter_mut().zip(state).for_each(|(next, s)| *next = a * *s);
                scale_rows(&mut w.r, &w.vn, &w.s[..n], dv);
                product(
                    (dk, dv, n),
                    at.rows.mat(x.k, dk).t(),
                    Mat::rows(&w.r, dv),
                    next,
                    dv,
                    R::ONE,
                );
            }
        }
    }
}

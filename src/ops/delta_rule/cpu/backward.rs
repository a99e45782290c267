use super::{ChunkRows, Inputs, Work};
use crate::ops::Decay;
use crate::ops::chunks::{decay_sums, dot_f64, product, scale_rows};
use crate::ops::delta_rule::DeltaRule;
use crate::twin::matmul::Mat;
use crate::twin::{Real, vectorize};

/// Where the gradients of one head go: rows in the order of time, a row a token (q, g) or a step.
pub(super) struct HeadGrads<'a, R> {
    pub(super) q: Vec<&'a mut [R]>,
    pub(super) k: Vec<&'a mut [R]>,
    pub(super) v: Vec<&'a mut [R]>,
    pub(super) beta: Vec<&'a mut [R]>,
    pub(super) g: Vec<&'a mut [R]>,
}

/// Further matrices of the backward pass.
pub(super) struct BackwardWork<R> {
    /// `[d_k,d_v]`: dL/d state after the chunk.
    grad_state: Vec<R>,
    /// `[C / n,d_v]`: scale dO, and the same times the decay in.
    grad_o: Vec<R>,
    decayed_grad_o: Vec<R>,
    /// `[C,d_v]`: dVn, dR, dV, and dV times the decay in.
    grad_vn: Vec<R>,
    grad_r: Vec<R>,
    grad_v: Vec<R>,
    decayed_grad_v: Vec<R>,
    /// `[C,d_v]`: Vn times the decay out.
    decayed_vn: Vec<R>,
    /// `[C,d_v]`: prediction errors.
    y: Vec<R>,
    /// `[C / n,C]`.
    e: Vec<R>,
    /// `[C,C]`.
    f: Vec<R>,
    m: Vec<R>,
    /// `[C / n,d_k]`.
    x1: Vec<R>,
    /// `[C,d_k]`.
    x2: Vec<R>,
    x3: Vec<R>,
    /// `[C]`: column sums of M from row t down.
    columns: Vec<R>,
}

impl<R: Real> BackwardWork<R> {
    pub(super) fn new(op: &DeltaRule) -> Self {
        let c = op.chunk;
        let zeros = |n: usize| vec![R::ZERO; n];
        let values = || zeros(c * op.d_v);
        let tokens = op.chunk_tokens();
        Self {
            grad_state: zeros(op.d_k * op.d_v),
            grad_o: zeros(tokens * op.d_v),
            decayed_grad_o: zeros(tokens * op.d_v),
            grad_vn: values(),
            grad_r: values(),
            grad_v: values(),
            decayed_grad_v: values(),
            decayed_vn: values(),
            y: values(),
            e: zeros(tokens * c),
            f: zeros(c * c),
            m: zeros(c * c),
            x1: zeros(tokens * op.d_k),
            x2: zeros(c * op.d_k),
            x3: zeros(c * op.d_k),
            columns: zeros(c),
        }
    }
}

impl DeltaRule {
    /// Backward over the chunks of one head, the last one first.
    pub(super) fn head_bwd<R: Real>(
        &self,
        x: Inputs<'_, R>,
        head: usize,
        tm: &[R],
        states: &[R],
        grad_o: &[R],
        mut grads: HeadGrads<'_, R>,
        w: &mut Work<R>,
        bw: &mut BackwardWork<R>,
    ) {
        let (c, size, chunks) = (self.chunk, self.d_k * self.d_v, self.chunks());
        for i in (0..chunks).rev() {
            let mut stages = Stages {
                op: self,
                x,
                at: ChunkRows::new(self, head, i),
                tm: &tm[(head * chunks + i) * c * c..][..c * c],
                state: &states[(head * chunks + i) * size..][..size],
                is_last: i + 1 == chunks,
                w: &mut *w,
                bw: &mut *bw,
            };
            stages.prepare(grad_o);
            stages.value_bwd();
            stages.error_bwd(&mut grads);
            stages.chunk_bwd();
            stages.state_products();
            if self.decay == Decay::Scalar {
                stages.gate_bwd(&mut grads);
            }
            stages.query_key_bwd(&mut grads);
            stages.key_state_bwd();
            stages.key_chunk_bwd(&mut grads);
            if i > 0 {
                stages.state_bwd();
            }
        }
    }
}

/// The stages of one chunk's backward pass. Those that have kernels of their own have their names. The state before the
/// first chunk and the gradient of the one after the last are zero: products with them are left out.
struct Stages<'a, R> {
    op: &'a DeltaRule,
    x: Inputs<'a, R>,
    at: ChunkRows,
    tm: &'a [R],
    state: &'a [R],
    is_last: bool,
    w: &'a mut Work<R>,
    bw: &'a mut BackwardWork<R>,
}

/// 0 where a product is the first term of a sum, else 1.
fn unless<R: Real>(is_first: bool) -> R {
    if is_first { R::ZERO } else { R::ONE }
}

impl<R: Real> Stages<'_, R> {
    /// What forward left unsaved, and Do.
    fn prepare(&mut self, grad_o: &[R]) {
        let (op, at, d_v) = (self.op, self.at, self.op.d_v);
        let scale = R::of(f64::from(op.scale));
        self.w.chunk_prep(op, self.x, at);
        self.w.written(op, self.x, at, self.tm, self.state);
        for (to, token) in self.bw.grad_o.chunks_mut(d_v).zip(0..at.queries.n) {
            let from = at.queries.at(grad_o, d_v, token);
            to.iter_mut().zip(from).for_each(|(to, from)| *to = scale * *from);
        }
    }

    /// dVn, dR, dV.
    fn value_bwd(&mut self) {
        let Self { op, at, w, bw, .. } = self;
        let (c, d_k, d_v, n) = (op.chunk, op.d_k, op.d_v, at.rows.n);
        if !self.is_last {
            let (k, grad_state) = (at.rows.mat(self.x.k, d_k), Mat::rows(&bw.grad_state, d_v));
            product((n, d_v, d_k), k, grad_state, &mut bw.grad_r, d_v, R::ZERO);
            vectorize(
                #[inline(always)]
                || scale_rows(&mut bw.grad_vn, &bw.grad_r, &w.decay_out[..n], d_v),
            );
        }
        let (scores, grad_o) = (Mat::rows(&w.scores, c).t(), Mat::rows(&bw.grad_o, d_v));
        let shape = (n, d_v, at.queries.n);
        product(shape, scores, grad_o, &mut bw.grad_vn, d_v, unless(self.is_last));
        let (tm, grad_vn) = (Mat::rows(self.tm, c).t(), Mat::rows(&bw.grad_vn, d_v));
        product((n, d_v, n), tm, grad_vn, &mut bw.grad_r, d_v, R::ZERO);
        w.stiff.refine(op, n, self.tm, true, &bw.grad_vn, &mut bw.grad_r);
    }

    /// dV, prediction errors Y, dbeta.
    fn error_bwd(&mut self, grads: &mut HeadGrads<'_, R>) {
        let Self { op, at, w, bw, .. } = self;
        let (d_v, n, first) = (op.d_v, at.rows.n, at.rows_before(op));
        let (lower, vn) = (Mat::rows(&w.lower, op.chunk), Mat::rows(&w.vn, d_v));
        product((n, d_v, n), lower, vn, &mut bw.y, d_v, R::ZERO);
        vectorize(
            #[inline(always)]
            || {
                scale_rows(&mut bw.grad_v, &bw.grad_r, &w.beta[..n], d_v);
                let rows = bw.y.chunks_exact_mut(d_v).zip(w.u.chunks_exact(d_v));
                let rows = rows.zip(bw.grad_r.chunks_exact(d_v).zip(bw.grad_v.chunks_exact(d_v)));
                let places = grads.beta[first..].iter_mut().zip(&mut grads.v[first..]);
                for (((y, u), (grad_r, grad_v)), (beta, v)) in rows.zip(places).take(n) {
                    y.iter_mut().zip(u).for_each(|(y, u)| *y = *u - *y);
                    beta[0] = dot_f64(grad_r, y);
                    v.copy_from_slice(grad_v);
                }
            },
        );
    }

    /// E, F and M, the products that the log decays see.
    fn chunk_bwd(&mut self) {
        let Self { op, at, w, bw, .. } = self;
        let (c, d_v, n) = (op.chunk, op.d_v, at.rows.n);
        let vn = Mat::rows(&w.vn, d_v).t();
        let grad_o = Mat::rows(&bw.grad_o, d_v);
        product((at.queries.n, n, d_v), grad_o, vn, &mut bw.e, c, R::ZERO);
        let grad_v = Mat::rows(&bw.grad_v, d_v);
        product((n, n, d_v), grad_v, vn, &mut bw.f, c, R::ZERO);
        vectorize(
            #[inline(always)]
            || {
                let rows = bw.f.chunks_exact_mut(c).zip(bw.m.chunks_exact_mut(c));
                let rows = rows.zip(w.lower.chunks_exact(c).zip(w.gam.chunks_exact(c)));
                for (row, ((f, m), (lower, gam))) in rows.take(n).enumerate() {
                    let given = lower.iter().zip(gam).take(row);
                    for ((f, m), (lower, gam)) in f.iter_mut().zip(m).zip(given) {
                        *m = -*f * *lower;
                        *f = -*f * *gam;
                    }
                    f[row..].fill(R::ZERO);
                }
                for (token, row) in at.reads() {
                    let (m, gam) = (&mut bw.m[row * c..][..row], &w.gam[row * c..][..=row]);
                    let e = &mut bw.e[token * c..][..c];
                    for ((m, e), score) in m.iter_mut().zip(&*e).zip(&w.scores[token * c..]) {
                        *m += *e * *score;
                    }
                    e.iter_mut().zip(gam).for_each(|(e, gam)| *e *= *gam);
                    e[row + 1..].fill(R::ZERO);
                }
            },
        );
    }

    /// X1, X2 and X3.
    fn state_products(&mut self) {
        let Self { op, at, w, bw, .. } = self;
        let (d_k, d_v, n, queries) = (op.d_k, op.d_v, at.rows.n, at.queries.n);
        vectorize(
            #[inline(always)]
            || {
                for (token, row) in at.reads() {
                    let (to, decay) = (&mut bw.decayed_grad_o[token * d_v..][..d_v], w.decay_in[row]);
                    let from = &bw.grad_o[token * d_v..][..d_v];
                    to.iter_mut().zip(from).for_each(|(to, x)| *to = decay * *x);
                }
                scale_rows(&mut bw.decayed_grad_v, &bw.grad_v, &w.decay_in[..n], d_v);
                scale_rows(&mut bw.decayed_vn, &w.vn, &w.decay_out[..n], d_v);
            },
        );
        let state = Mat::rows(self.state, d_v).t();
        if at.chunk > 0 {
            let grad_o = Mat::rows(&bw.decayed_grad_o, d_v);
            product((queries, d_k, d_v), grad_o, state, &mut bw.x1, d_k, R::ZERO);
            let grad_v = Mat::rows(&bw.decayed_grad_v, d_v);
            product((n, d_k, d_v), grad_v, state, &mut bw.x2, d_k, R::ZERO);
        } else {
            bw.x1.fill(R::ZERO);
            bw.x2.fill(R::ZERO);
        }
        if self.is_last {
            bw.x3.fill(R::ZERO);
        } else {
            let grad_state = Mat::rows(&bw.grad_state, d_v).t();
            let vn = Mat::rows(&bw.decayed_vn, d_v);
            product((n, d_k, d_v), vn, grad_state, &mut bw.x3, d_k, R::ZERO);
        }
    }

    /// dg of the chunk's tokens, from X1, X2, X3.
    fn gate_bwd(&mut self, grads: &mut HeadGrads<'_, R>) {
        let Self { op, at, w, bw, .. } = self;
        let (d_k, householder, n) = (op.d_k, at.householder, at.rows.n);
        let a_sd = match at.chunk == 0 || self.is_last {
            true => R::ZERO,
            false => w.decay_in[n - 1] * dot_f64(self.state, &bw.grad_state),
        };
        let (x1, x2, x3) = (&bw.x1, &bw.x2, &bw.x3);
        let inward = |t: usize| {
            let token = t / householder;
            let of_query = if (t + 1).is_multiple_of(householder) {
                dot_f64(&x1[token * d_k..][..d_k], at.queries.at(self.x.q, d_k, token))
            } else {
                R::ZERO
            };
            of_query - dot_f64(&x2[t * d_k..][..d_k], at.rows.at(self.x.k, d_k, t))
        };
        let outward = |t: usize| dot_f64(&x3[t * d_k..][..d_k], at.rows.at(self.x.k, d_k, t));
        let first = at.tokens_before(op);
        decay_sums(
            op.chunk,
            householder,
            &bw.m,
            inward,
            outward,
            a_sd,
            &mut bw.columns,
            &mut grads.g[first..][..at.queries.n],
        );
    }

    /// dQ.
    fn query_key_bwd(&mut self, grads: &mut HeadGrads<'_, R>) {
        let Self { op, at, bw, .. } = self;
        let (d_k, n, queries) = (op.d_k, at.rows.n, at.queries.n);
        let (e, k) = (Mat::rows(&bw.e, op.chunk), at.rows.mat(self.x.k, d_k));
        product((queries, d_k, n), e, k, &mut bw.x1, d_k, R::ONE);
        let places = grads.q[at.tokens_before(op)..].iter_mut();
        for (to, from) in places.zip(bw.x1.chunks(d_k)).take(queries) {
            to.copy_from_slice(from);
        }
    }

    /// What dK owes to the states, X3 - X2, in the place of X3.
    fn key_state_bwd(&mut self) {
        let len = self.at.rows.n * self.op.d_k;
        for (x3, x2) in self.bw.x3[..len].iter_mut().zip(&self.bw.x2) {
            *x3 -= *x2;
        }
    }

    /// dK.
    fn key_chunk_bwd(&mut self, grads: &mut HeadGrads<'_, R>) {
        let Self { op, at, bw, .. } = self;
        let (c, d_k, n) = (op.chunk, op.d_k, at.rows.n);
        let (q, k) = (at.queries.mat(self.x.q, d_k), at.rows.mat(self.x.k, d_k));
        let (e, f) = (Mat::rows(&bw.e, c).t(), Mat::rows(&bw.f, c));
        product((n, d_k, at.queries.n), e, q, &mut bw.x3, d_k, R::ONE);
        product((n, d_k, n), f, k, &mut bw.x3, d_k, R::ONE);
        product((n, d_k, n), f.t(), k, &mut bw.x3, d_k, R::ONE);
        let places = grads.k[at.rows_before(op)..].iter_mut();
        for (to, from) in places.zip(bw.x3.chunks(d_k)).take(n) {
            to.copy_from_slice(from);
        }
    }

    /// D of the chunk before.
    fn state_bwd(&mut self) {
        let Self { op, at, w, bw, .. } = self;
        let (d_k, d_v, n) = (op.d_k, op.d_v, at.rows.n);
        let a = w.decay_in[n - 1];
        bw.grad_state.iter_mut().for_each(|d| *d *= a);
        bw.decayed_grad_v.iter_mut().for_each(|x| *x = -*x);
        let (q, grad_o) = (
            at.queries.mat(self.x.q, d_k).t(),
            Mat::rows(&bw.decayed_grad_o, d_v),
        );
        let shape = (d_k, d_v, at.queries.n);
        product(shape, q, grad_o, &mut bw.grad_state, d_v, unless(self.is_last));
        let k = at.rows.mat(self.x.k, d_k).t();
        let grad_v = Mat::rows(&bw.decayed_grad_v, d_v);
        product((d_k, d_v, n), k, grad_v, &mut bw.grad_state, d_v, R::ONE);
    }
}

use super::{ChunkRows, Inputs, Work};
use crate::ops::Decay;
use crate::ops::chunks::{decay_sums, dot, product, scale_rows};
use crate::ops::delta_rule::DeltaRule;
use crate::twin::Real;
use crate::twin::matmul::Mat;

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
        let (c, d_k, d_v, chunks) = (self.chunk, self.d_k, self.d_v, self.chunks());
        let (tokens, householder) = (self.chunk_tokens(), self.householder);
        let scale = R::of(f64::from(self.scale));
        bw.grad_state.fill(R::ZERO);
        for i in (0..chunks).rev() {
            let at = ChunkRows::new(self, head, i);
            let (n, queries) = (at.rows.n, at.queries.n);
            let (first_token, first_step) = (i * tokens, i * tokens * householder);
            let tm = &tm[(head * chunks + i) * c * c..][..c * c];
            let state = &states[(head * chunks + i) * d_k * d_v..][..d_k * d_v];
            let (q, k) = (at.queries.mat(x.q, d_k), at.rows.mat(x.k, d_k));
            w.chunk_prep(self, x, at);
            w.written(self, x, at, tm, state);
            for (to, token) in bw.grad_o.chunks_mut(d_v).zip(0..queries) {
                let from = at.queries.at(grad_o, d_v, token);
                to.iter_mut().zip(from).for_each(|(to, from)| *to = scale * *from);
            }

            // Values: dVn, dR, dV, dbeta.
            product(
                (n, d_v, d_k),
                k,
                Mat::rows(&bw.grad_state, d_v),
                &mut bw.grad_r,
                d_v,
                R::ZERO,
            );
            scale_rows(&mut bw.grad_vn, &bw.grad_r, &w.decay_out[..n], d_v);
            let (scores, grad_o) = (Mat::rows(&w.scores, c), Mat::rows(&bw.grad_o, d_v));
            product(
                (n, d_v, queries),
                scores.t(),
                grad_o,
                &mut bw.grad_vn,
                d_v,
                R::ONE,
            );
            product(
                (n, d_v, n),
                Mat::rows(tm, c).t(),
                Mat::rows(&bw.grad_vn, d_v),
                &mut bw.grad_r,
                d_v,
                R::ZERO,
            );
            w.stiff.refine(self, n, tm, true, &bw.grad_vn, &mut bw.grad_r);
            scale_rows(&mut bw.grad_v, &bw.grad_r, &w.beta[..n], d_v);
            product(
                (n, d_v, n),
                Mat::rows(&w.lower, c),
                Mat::rows(&w.vn, d_v),
                &mut bw.y,
                d_v,
                R::ZERO,
            );
            for row in 0..n {
                let range = row * d_v..(row + 1) * d_v;
                for (y, u) in bw.y[range.clone()].iter_mut().zip(&w.u[range.clone()]) {
                    *y = *u - *y;
                }
                grads.beta[first_step + row][0] = dot(&bw.grad_r[range.clone()], &bw.y[range.clone()]);
                grads.v[first_step + row].copy_from_slice(&bw.grad_v[range]);
            }

            // Inside the chunk: E, F and the products that the log decays see.
            let vn = Mat::rows(&w.vn, d_v);
            product((queries, n, d_v), grad_o, vn.t(), &mut bw.e, c, R::ZERO);
            product(
                (n, n, d_v),
                Mat::rows(&bw.grad_v, d_v),
                vn.t(),
                &mut bw.f,
                c,
                R::ZERO,
            );
            for row in 0..n {
                for j in row * c..row * c + row {
                    bw.m[j] = -bw.f[j] * w.lower[j];
                    bw.f[j] = -bw.f[j] * w.gam[j];
                }
                bw.f[row * c + row..(row + 1) * c].fill(R::ZERO);
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

            // Queries and keys.
            for (token, row) in at.reads() {
                let (to, decay) = (&mut bw.decayed_grad_o[token * d_v..][..d_v], w.decay_in[row]);
                to.iter_mut()
                    .zip(&bw.grad_o[token * d_v..])
                    .for_each(|(to, x)| *to = decay * *x);
            }
            scale_rows(&mut bw.decayed_grad_v, &bw.grad_v, &w.decay_in[..n], d_v);
            scale_rows(&mut bw.decayed_vn, &w.vn, &w.decay_out[..n], d_v);
            let state_t = Mat::rows(state, d_v).t();
            product(
                (queries, d_k, d_v),
                Mat::rows(&bw.decayed_grad_o, d_v),
                state_t,
                &mut bw.x1,
                d_k,
                R::ZERO,
            );
            product(
                (n, d_k, d_v),
                Mat::rows(&bw.decayed_grad_v, d_v),
                state_t,
                &mut bw.x2,
                d_k,
                R::ZERO,
            );
            product(
                (n, d_k, d_v),
                Mat::rows(&bw.decayed_vn, d_v),
                Mat::rows(&bw.grad_state, d_v).t(),
                &mut bw.x3,
                d_k,
                R::ZERO,
            );
            if self.decay == Decay::Scalar {
                let a_sd = w.decay_in[n - 1] * dot(state, &bw.grad_state);
                self.chunk_decay_bwd(x, at, a_sd, bw, &mut grads.g[first_token..][..queries]);
            }
            for (x3, x2) in bw.x3[..n * d_k].iter_mut().zip(&bw.x2) {
                *x3 -= *x2;
            }
            let e = Mat::rows(&bw.e, c);
            product((queries, d_k, n), e, k, &mut bw.x1, d_k, R::ONE);
            product((n, d_k, queries), e.t(), q, &mut bw.x3, d_k, R::ONE);
            product((n, d_k, n), Mat::rows(&bw.f, c), k, &mut bw.x3, d_k, R::ONE);
            product((n, d_k, n), Mat::rows(&bw.f, c).t(), k, &mut bw.x3, d_k, R::ONE);
            for (to, from) in grads.q[first_token..]
                .iter_mut()
                .zip(bw.x1.chunks(d_k))
                .take(queries)
            {
                to.copy_from_slice(from);
            }
            for (to, from) in grads.k[first_step..].iter_mut().zip(bw.x3.chunks(d_k)).take(n) {
                to.copy_from_slice(from);
            }

            // The state before the chunk.
            let a = w.decay_in[n - 1];
            bw.grad_state.iter_mut().for_each(|d| *d *= a);
            bw.decayed_grad_v.iter_mut().for_each(|x| *x = -*x);
            product(
                (d_k, d_v, queries),
                q.t(),
                Mat::rows(&bw.decayed_grad_o, d_v),
                &mut bw.grad_state,
                d_v,
                R::ONE,
            );
            product(
                (d_k, d_v, n),
                k.t(),
                Mat::rows(&bw.decayed_grad_v, d_v),
                &mut bw.grad_state,
                d_v,
                R::ONE,
            );
        }
    }

    /// dg of one chunk's tokens, from X1, X2, X3 before they become dQ and dK, and `a_sd` = a <S, D>.
    fn chunk_decay_bwd<R: Real>(
        &self,
        x: Inputs<'_, R>,
        at: ChunkRows,
        a_sd: R,
        bw: &mut BackwardWork<R>,
        grad_g: &mut [&mut [R]],
    ) {
        let (d_k, householder) = (self.d_k, at.householder);
        let (x1, x2, x3) = (&bw.x1, &bw.x2, &bw.x3);
        let inward = |t: usize| {
            let token = t / householder;
            let of_query = if (t + 1).is_multiple_of(householder) {
                dot(&x1[token * d_k..][..d_k], at.queries.at(x.q, d_k, token))
            } else {
                R::ZERO
            };
            of_query - dot(&x2[t * d_k..][..d_k], at.rows.at(x.k, d_k, t))
        };
        let outward = |t: usize| dot(&x3[t * d_k..][..d_k], at.rows.at(x.k, d_k, t));
        decay_sums(
            self.chunk,
            householder,
            &bw.m,
            inward,
            outward,
            a_sd,
            &mut bw.columns,
            grad_g,
        );
    }
}

use super::{Inputs, Place, Work};
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
    d: Vec<R>,
    /// `[C / n,d_v]`: s dO, and the same times p.
    d_o: Vec<R>,
    p_d_o: Vec<R>,
    /// `[C,d_v]`: dVn, dR, dV, and dV times p.
    d_vn: Vec<R>,
    d_r: Vec<R>,
    d_v: Vec<R>,
    p_d_v: Vec<R>,
    /// `[C,d_v]`: Vn times s.
    s_vn: Vec<R>,
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
        let values = || zeros(c * op.dv);
        let tokens = op.chunk_tokens();
        Self {
            d: zeros(op.dk * op.dv),
            d_o: zeros(tokens * op.dv),
            p_d_o: zeros(tokens * op.dv),
            d_vn: values(),
            d_r: values(),
            d_v: values(),
            p_d_v: values(),
            s_vn: values(),
            y: values(),
            e: zeros(tokens * c),
            f: zeros(c * c),
            m: zeros(c * c),
            x1: zeros(tokens * op.dk),
            x2: zeros(c * op.dk),
            x3: zeros(c * op.dk),
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
        s: &[R],
        d_o: &[R],
        mut grads: HeadGrads<'_, R>,
        w: &mut Work<R>,
        bw: &mut BackwardWork<R>,
    ) {
        let (c, dk, dv, chunks) = (self.chunk, self.dk, self.dv, self.chunks());
        let (tokens, steps) = (self.chunk_tokens(), self.steps);
        let scale = R::of(f64::from(self.scale));
        bw.d.fill(R::ZERO);
        for i in (0..chunks).rev() {
            let at = Place::new(self, head, i);
            let (n, queries) = (at.rows.n, at.queries.n);
            let (first_token, first_step) = (i * tokens, i * tokens * steps);
            let tm = &tm[(head * chunks + i) * c * c..][..c * c];
            let state = &s[(head * chunks + i) * dk * dv..][..dk * dv];
            let (q, k) = (at.queries.mat(x.q, dk), at.rows.mat(x.k, dk));
            w.prepare(self, x, at);
            w.values(self, x, at, tm, state);
            for (to, token) in bw.d_o.chunks_mut(dv).zip(0..queries) {
                let from = at.queries.at(d_o, dv, token);
                to.iter_mut().zip(from).for_each(|(to, from)| *to = scale * *from);
            }

            // Values: dVn, dR, dV, dbeta.
            product((n, dv, dk), k, Mat::rows(&bw.d, dv), &mut bw.d_r, dv, R::ZERO);
            scale_rows(&mut bw.d_vn, &bw.d_r, &w.s[..n], dv);
            let (p_mat, d_o) = (Mat::rows(&w.qk, c), Mat::rows(&bw.d_o, dv));
            product((n, dv, queries), p_mat.t(), d_o, &mut bw.d_vn, dv, R::ONE);
            product(
                (n, dv, n),
                Mat::rows(tm, c).t(),
                Mat::rows(&bw.d_vn, dv),
                &mut bw.d_r,
                dv,
                R::ZERO,
            );
            scale_rows(&mut bw.d_v, &bw.d_r, &w.beta[..n], dv);
            product(
                (n, dv, n),
                Mat::rows(&w.g, c),
                Mat::rows(&w.vn, dv),
                &mut bw.y,
                dv,
                R::ZERO,
            );
            for row in 0..n {
                let range = row * dv..(row + 1) * dv;
                for (y, u) in bw.y[range.clone()].iter_mut().zip(&w.u[range.clone()]) {
                    *y = *u - *y;
                }
                grads.beta[first_step + row][0] = dot(&bw.d_r[range.clone()], &bw.y[range.clone()]);
                grads.v[first_step + row].copy_from_slice(&bw.d_v[range]);
            }

            // Inside the chunk: E, F and the products that the log decays see.
            let vn = Mat::rows(&w.vn, dv);
            product((queries, n, dv), d_o, vn.t(), &mut bw.e, c, R::ZERO);
            product((n, n, dv), Mat::rows(&bw.d_v, dv), vn.t(), &mut bw.f, c, R::ZERO);
            for row in 0..n {
                for j in row * c..row * c + row {
                    bw.m[j] = -bw.f[j] * w.g[j];
                    bw.f[j] = -bw.f[j] * w.gam[j];
                }
                bw.f[row * c + row..(row + 1) * c].fill(R::ZERO);
            }
            for (token, row) in at.reads() {
                let (m, gam) = (&mut bw.m[row * c..][..row], &w.gam[row * c..][..=row]);
                let e = &mut bw.e[token * c..][..c];
                for ((m, e), p) in m.iter_mut().zip(&*e).zip(&w.qk[token * c..]) {
                    *m += *e * *p;
                }
                e.iter_mut().zip(gam).for_each(|(e, gam)| *e *= *gam);
                e[row + 1..].fill(R::ZERO);
            }

            // Queries and keys.
            for (token, row) in at.reads() {
                let (to, p) = (&mut bw.p_d_o[token * dv..][..dv], w.p[row]);
                to.iter_mut()
                    .zip(&bw.d_o[token * dv..])
                    .for_each(|(to, x)| *to = p * *x);
            }
            scale_rows(&mut bw.p_d_v, &bw.d_v, &w.p[..n], dv);
            scale_rows(&mut bw.s_vn, &w.vn, &w.s[..n], dv);
            let s_t = Mat::rows(state, dv).t();
            product(
                (queries, dk, dv),
                Mat::rows(&bw.p_d_o, dv),
                s_t,
                &mut bw.x1,
                dk,
                R::ZERO,
            );
            product(
                (n, dk, dv),
                Mat::rows(&bw.p_d_v, dv),
                s_t,
                &mut bw.x2,
                dk,
                R::ZERO,
            );
            product(
                (n, dk, dv),
                Mat::rows(&bw.s_vn, dv),
                Mat::rows(&bw.d, dv).t(),
                &mut bw.x3,
                dk,
                R::ZERO,
            );
            if x.g.is_some() {
                let a_sd = w.p[n - 1] * dot(state, &bw.d);
                self.chunk_decay_bwd(x, at, a_sd, bw, &mut grads.g[first_token..][..queries]);
            }
            for (x3, x2) in bw.x3[..n * dk].iter_mut().zip(&bw.x2) {
                *x3 -= *x2;
            }
            let e = Mat::rows(&bw.e, c);
            product((queries, dk, n), e, k, &mut bw.x1, dk, R::ONE);
            product((n, dk, queries), e.t(), q, &mut bw.x3, dk, R::ONE);
            product((n, dk, n), Mat::rows(&bw.f, c), k, &mut bw.x3, dk, R::ONE);
            product((n, dk, n), Mat::rows(&bw.f, c).t(), k, &mut bw.x3, dk, R::ONE);
            for (to, from) in grads.q[first_token..]
                .iter_mut()
                .zip(bw.x1.chunks(dk))
                .take(queries)
            {
                to.copy_from_slice(from);
            }
            for (to, from) in grads.k[first_step..].iter_mut().zip(bw.x3.chunks(dk)).take(n) {
                to.copy_from_slice(from);
            }

            // The state before the chunk.
            let a = w.p[n - 1];
            bw.d.iter_mut().for_each(|d| *d *= a);
            bw.p_d_v.iter_mut().for_each(|x| *x = -*x);
            product(
                (dk, dv, queries),
                q.t(),
                Mat::rows(&bw.p_d_o, dv),
                &mut bw.d,
                dv,
                R::ONE,
            );
            product(
                (dk, dv, n),
                k.t(),
                Mat::rows(&bw.p_d_v, dv),
                &mut bw.d,
                dv,
                R::ONE,
            );
        }
    }

    /// dg of one chunk's tokens, from X1, X2, X3 before they become dQ and dK, and `a_sd` = a <S, D>.
    fn chunk_decay_bwd<R: Real>(
        &self,
        x: Inputs<'_, R>,
        at: Place,
        a_sd: R,
        bw: &mut BackwardWork<R>,
        d_g: &mut [&mut [R]],
    ) {
        let (dk, steps) = (self.dk, at.steps);
        let (x1, x2, x3) = (&bw.x1, &bw.x2, &bw.x3);
        let inward = |t: usize| {
            let token = t / steps;
            let of_query = if (t + 1).is_multiple_of(steps) {
                dot(&x1[token * dk..][..dk], at.queries.at(x.q, dk, token))
            } else {
                R::ZERO
            };
            of_query - dot(&x2[t * dk..][..dk], at.rows.at(x.k, dk, t))
        };
        let outward = |t: usize| dot(&x3[t * dk..][..dk], at.rows.at(x.k, dk, t));
        decay_sums(
            self.chunk,
            steps,
            &bw.m,
            inward,
            outward,
            a_sd,
            &mut bw.columns,
            d_g,
        );
    }
}

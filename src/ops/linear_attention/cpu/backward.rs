use super::{Inputs, Place, Work, decay_rows};
use crate::ops::chunks::{decay_sums, dot, product};
use crate::ops::linear_attention::{Decay, LinearAttention};
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
    d: Vec<R>,
    d_before: Vec<R>,
    /// `[C,d_v]`: s dO, and dV.
    d_o: Vec<R>,
    d_v: Vec<R>,
    /// `[C,C]`: dP, then E = dP * Gam; dP * P.
    e: Vec<R>,
    m: Vec<R>,
    /// `[C,d_k]`: X1, X3, then dQ, dK; Channel: the decaying parts of dQ, dK inside the chunk.
    x1: Vec<R>,
    x3: Vec<R>,
    d_q: Vec<R>,
    d_k: Vec<R>,
    /// `[C]` or `[d_k]`: sums over rows.
    columns: Vec<R>,
}

impl<R: Real> BackwardWork<R> {
    pub(super) fn new(op: &LinearAttention) -> Self {
        let (c, dk, dv) = (op.chunk, op.dk, op.dv);
        let zeros = |n: usize| vec![R::ZERO; n];
        Self {
            d: zeros(dk * dv),
            d_before: zeros(dk * dv),
            d_o: zeros(c * dv),
            d_v: zeros(c * dv),
            e: zeros(c * c),
            m: zeros(c * c),
            x1: zeros(c * dk),
            x3: zeros(c * dk),
            d_q: zeros(c * dk),
            d_k: zeros(c * dk),
            columns: zeros(c.max(dk)),
        }
    }
}

impl LinearAttention {
    /// Backward over the chunks of one head, the last one first.
    pub(super) fn head_bwd<R: Real>(
        &self,
        x: Inputs<'_, R>,
        head: usize,
        s: &[R],
        d_o: &[R],
        grads: &mut HeadGrads<'_, '_, R>,
        w: &mut Work<R>,
        bw: &mut BackwardWork<R>,
    ) {
        let (c, dk, dv, chunks) = (self.chunk, self.dk, self.dv, self.chunks());
        let scale = R::of(f64::from(self.scale));
        bw.d.fill(R::ZERO);
        for i in (0..chunks).rev() {
            let at = self.place(head, i);
            let n = at.values.n;
            let state = &s[(head * chunks + i) * dk * dv..][..dk * dv];
            let v = at.values.mat(x.v, dv);
            w.prepare(self, x, at);
            for (to, row) in bw.d_o.chunks_mut(dv).zip(0..n) {
                let from = at.values.at(d_o, dv, row);
                to.iter_mut().zip(from).for_each(|(to, from)| *to = scale * *from);
            }

            let (d_o, d) = (Mat::rows(&bw.d_o, dv), Mat::rows(&bw.d, dv));
            let (k_s, p) = (Mat::rows(&w.k_s, dk), Mat::rows(&w.qk, c));
            product((n, dv, dk), k_s, d, &mut bw.d_v, dv, R::ZERO);
            product((n, dv, n), p.t(), d_o, &mut bw.d_v, dv, R::ONE);
            for (to, from) in grads.v[i * c..].iter_mut().zip(bw.d_v.chunks(dv)).take(n) {
                to.copy_from_slice(from);
            }

            product((n, n, dv), d_o, v.t(), &mut bw.e, c, R::ZERO);
            product(
                (n, dk, dv),
                d_o,
                Mat::rows(state, dv).t(),
                &mut bw.x1,
                dk,
                R::ZERO,
            );
            product((n, dk, dv), v, d.t(), &mut bw.x3, dk, R::ZERO);
            decay_rows(&mut bw.x1[..n * dk], &w.p, w.width, dk);
            decay_rows(&mut bw.x3[..n * dk], &w.s, w.width, dk);
            let d_g: &mut [&mut [R]] = match grads.g.is_empty() {
                true => &mut [],
                false => &mut grads.g[i * c..][..n],
            };
            if self.decay == Decay::Channel {
                self.channel_bwd(x, at, state, w, bw, d_g);
            } else {
                self.scalar_bwd(x, at, state, w, bw, d_g);
            }
            for (rows, from) in [(&mut *grads.q, &bw.x1), (&mut *grads.k, &bw.x3)] {
                for (to, from) in rows[i * c..].iter_mut().zip(from.chunks(dk)).take(n) {
                    if grads.add_keys {
                        to.iter_mut().zip(from).for_each(|(to, from)| *to += *from);
                    } else {
                        to.copy_from_slice(from);
                    }
                }
            }

            w.decayed(&mut bw.d_before, &bw.d, n, dv);
            std::mem::swap(&mut bw.d, &mut bw.d_before);
            let q_p = Mat::rows(&w.q_p, dk).t();
            product((dk, dv, n), q_p, Mat::rows(&bw.d_o, dv), &mut bw.d, dv, R::ONE);
        }
    }

    /// dQ and dK from X1 and X3, and dg: one decay a token.
    fn scalar_bwd<R: Real>(
        &self,
        x: Inputs<'_, R>,
        at: Place,
        state: &[R],
        w: &Work<R>,
        bw: &mut BackwardWork<R>,
        d_g: &mut [&mut [R]],
    ) {
        let (c, dk, n) = (self.chunk, self.dk, at.keys.n);
        for row in 0..n {
            for j in row * c..=row * c + row {
                bw.m[j] = bw.e[j] * w.qk[j];
                bw.e[j] *= w.gam[j];
            }
            bw.e[row * c + row + 1..(row + 1) * c].fill(R::ZERO);
        }
        if !d_g.is_empty() {
            let inward = |t: usize| dot(&bw.x1[t * dk..][..dk], at.keys.at(x.q, dk, t));
            let outward = |t: usize| dot(&bw.x3[t * dk..][..dk], at.keys.at(x.k, dk, t));
            let through = w.p[n - 1] * dot(state, &bw.d);
            decay_sums(c, 1, &bw.m, inward, outward, through, &mut bw.columns, d_g);
        }
        let (q, k, e) = (at.keys.mat(x.q, dk), at.keys.mat(x.k, dk), Mat::rows(&bw.e, c));
        product((n, dk, n), e, k, &mut bw.x1, dk, R::ONE);
        product((n, dk, n), e.t(), q, &mut bw.x3, dk, R::ONE);
    }

    /// dQ and dK from X1 and X3, and dg: a decay a channel.
    fn channel_bwd<R: Real>(
        &self,
        x: Inputs<'_, R>,
        at: Place,
        state: &[R],
        w: &mut Work<R>,
        bw: &mut BackwardWork<R>,
        d_g: &mut [&mut [R]],
    ) {
        let (c, dk, dv, n) = (self.chunk, self.dk, self.dv, at.keys.n);
        bw.d_q[..n * dk].fill(R::ZERO);
        bw.d_k[..n * dk].fill(R::ZERO);
        w.channels
            .pairs_bwd(x, at.keys, dk, &bw.e, c, &mut bw.d_q, &mut bw.d_k);
        let sums = &mut bw.columns[..dk];
        for (channel, sum) in sums.iter_mut().enumerate() {
            let row = channel * dv..(channel + 1) * dv;
            *sum = w.whole_decay(n, channel) * dot(&state[row.clone()], &bw.d[row]);
        }
        for t in (0..n).rev() {
            let (q, k, at) = (at.keys.at(x.q, dk, t), at.keys.at(x.k, dk, t), t * dk);
            for i in 0..dk {
                sums[i] += q[i] * (bw.x1[at + i] + bw.d_q[at + i]) - k[i] * bw.d_k[at + i];
            }
            d_g[t].copy_from_slice(sums);
        }
        sums.fill(R::ZERO);
        for t in 0..n {
            let (q, k, e) = (at.keys.at(x.q, dk, t), at.keys.at(x.k, dk, t), bw.e[t * c + t]);
            for i in 0..dk {
                d_g[t][i] += sums[i];
                sums[i] += k[i] * bw.x3[t * dk + i];
                bw.x1[t * dk + i] += bw.d_q[t * dk + i] + e * k[i];
                bw.x3[t * dk + i] += bw.d_k[t * dk + i] + e * q[i];
            }
        }
    }
}

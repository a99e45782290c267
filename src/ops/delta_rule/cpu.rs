mod backward;

use self::backward::{BackwardWork, HeadGrads};
use super::DeltaRule;
use crate::cpu::matmul::Mat;
use crate::cpu::{In, Out, Real};
use crate::ops::CpuOp;
use crate::ops::chunks::{Chunk, clamped, decay_factors, head_rows, product, scale_rows};
use crate::step::StepParams;
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

/// Matrices of one chunk; reused by all chunks that a thread works on.
struct Work<R> {
    /// `[C]`: decay from the chunk's start to each token.
    p: Vec<R>,
    /// `[C]`: decay from each token to the chunk's end.
    s: Vec<R>,
    beta: Vec<R>,
    /// `[C,C]`, lower triangle with diagonal: decay from token j to token i.
    gam: Vec<R>,
    /// `[C,C]`: stril(K K^T * Gam).
    g: Vec<R>,
    /// `[C,C]`: tril(Q K^T * Gam).
    qk: Vec<R>,
    /// `[C,d_v]`: V - diag(p) K S.
    u: Vec<R>,
    /// `[C,d_v]`: diag(beta) u.
    r: Vec<R>,
    /// `[C,d_v]`: the values that the chunk writes.
    vn: Vec<R>,
    /// `[C,d_v]`.
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
            qk: zeros(c * c),
            u: zeros(c * op.dv),
            r: zeros(c * op.dv),
            vn: zeros(c * op.dv),
            o: zeros(c * op.dv),
        }
    }

    /// What does not depend on the state: decays, beta, G and P.
    fn prepare(&mut self, op: &DeltaRule, x: Inputs<'_, R>, chunk: Chunk) {
        let (c, n, dk) = (op.chunk, chunk.n, op.dk);
        let log_decay = |i: usize| x.g.map_or(R::ZERO, |g| clamped(g[chunk.row_at(i)]));
        decay_factors(n, c, log_decay, &mut self.p, &mut self.s, &mut self.gam);
        for i in 0..n {
            self.beta[i] = x.beta[chunk.row_at(i)];
        }
        let (q, k) = (chunk.mat(x.q, dk), chunk.mat(x.k, dk));
        product((n, n, dk), k, k.t(), &mut self.g, c, R::ZERO);
        product((n, n, dk), q, k.t(), &mut self.qk, c, R::ZERO);
        for i in 0..n {
            for j in i * c..i * c + c {
                self.g[j] *= self.gam[j];
                self.qk[j] *= self.gam[j];
            }
            // The upper triangle of a product may hold anything, also infinities.
            self.g[i * c + i..(i + 1) * c].fill(R::ZERO);
            self.qk[i * c + i + 1..(i + 1) * c].fill(R::ZERO);
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
    fn values(&mut self, op: &DeltaRule, x: Inputs<'_, R>, chunk: Chunk, tm: &[R], s: &[R]) {
        let (c, n, dk, dv) = (op.chunk, chunk.n, op.dk, op.dv);
        product(
            (n, dv, dk),
            chunk.mat(x.k, dk),
            Mat::rows(s, dv),
            &mut self.u,
            dv,
            R::ZERO,
        );
        for i in 0..n {
            let (p, beta) = (self.p[i], self.beta[i]);
            let rows = self.u[i * dv..][..dv].iter_mut().zip(&mut self.r[i * dv..][..dv]);
            for ((u, r), v) in rows.zip(chunk.at(x.v, dv, i)) {
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
        // Gradients that nobody wants still need a place.
        let mut spare: Vec<Vec<R>> = vec![Vec::new(); 5];
        let mut d_ins = d_ins.iter_mut();
        let widths = [self.dk, self.dk, self.dv, 1, 1];
        let mut targets = spare.iter_mut().zip(widths).map(|(spare, width)| {
            let data: &mut [R] = match d_ins.next().and_then(|out| out.wanted()) {
                Some((data, _)) => data,
                None => {
                    spare.resize(self.b * self.t * self.h * width, R::ZERO);
                    spare
                }
            };
            head_rows(data, width, self.t, self.h)
        });
        let mut next = || targets.next().expect("five targets");
        let (d_q, d_k, d_v, d_beta, d_g) = (next(), next(), next(), next(), next());
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
    /// Chunk `i` of a head, as [B,T,H] has its rows.
    fn chunk_at(&self, head: usize, i: usize) -> Chunk {
        let first = i * self.chunk;
        Chunk {
            row: (head / self.h * self.t + first) * self.h + head % self.h,
            stride: self.h,
            n: self.chunk.min(self.t - first),
        }
    }

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
            let chunk = self.chunk_at(head, i);
            let n = chunk.n;
            let (before, after) = s.split_at_mut((i + 1) * dk * dv);
            let state = &before[i * dk * dv..];
            w.prepare(self, x, chunk);
            w.invert(c, n, tm);
            w.values(self, x, chunk, tm, state);

            product(
                (n, dv, dk),
                chunk.mat(x.q, dk),
                Mat::rows(state, dv),
                &mut w.o,
                dv,
                R::ZERO,
            );
            for (row, p) in w.o.chunks_mut(dv).zip(&w.p[..n]) {
                row.iter_mut().for_each(|x| *x *= *p);
            }
            product(
                (n, dv, n),
                Mat::rows(&w.qk, c),
                Mat::rows(&w.vn, dv),
                &mut w.o,
                dv,
                R::ONE,
            );
            for (to, from) in o[i * c..].iter_mut().zip(w.o.chunks(dv)).take(n) {
                to.iter_mut().zip(from).for_each(|(to, from)| *to = scale * *from);
            }

            if !after.is_empty() {
                let next = &mut after[..dk * dv];
                let a = w.p[n - 1];
                next.iter_mut().zip(state).for_each(|(next, s)| *next = a * *s);
                scale_rows(&mut w.r, &w.vn, &w.s[..n], dv);
                product(
                    (dk, dv, n),
                    chunk.mat(x.k, dk).t(),
                    Mat::rows(&w.r, dv),
                    next,
                    dv,
                    R::ONE,
                );
            }
        }
    }
}

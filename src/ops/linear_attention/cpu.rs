mod backward;
mod channel;

use self::backward::{BackwardWork, HeadGrads};
use self::channel::Channels;
use super::{Decay, LinearAttention};
use crate::ops::chunks::{Chunk, clamped, decay_factors, head_rows, product, retention_log_decay};
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
    /// Empty without gates.
    g: &'a [R],
}

impl<'a, R: Real> Inputs<'a, R> {
    fn new(ins: &[In<'a, R>]) -> Self {
        Self {
            q: ins[0].real(),
            k: ins[1].real(),
            v: ins[2].real(),
            g: ins.get(3).map_or(&[], In::real),
        }
    }
}

/// A chunk of one head.
#[derive(Clone, Copy)]
struct Place {
    head: usize,
    /// Where its queries and keys are.
    keys: Chunk,
    /// Where its values and gates are.
    values: Chunk,
}

/// Matrices of one chunk; reused by all chunks that a thread works on.
struct Work<R> {
    /// Decays a token: 1, for Channel `d_k`.
    width: usize,
    /// `[C, width]`: decay from the chunk's start to each token.
    p: Vec<R>,
    /// `[C, width]`: decay from each token to the chunk's end.
    s: Vec<R>,
    /// `[C,C]`, lower triangle with diagonal: decay from token j to token i. Not for Channel.
    gam: Vec<R>,
    /// Channel only.
    channels: Channels<R>,
    /// `[C,C]`: P.
    qk: Vec<R>,
    /// `[C,d_k]`: Q * p.
    q_p: Vec<R>,
    /// `[C,d_k]`: K * s.
    k_s: Vec<R>,
    /// `[C,d_v]`.
    o: Vec<R>,
}

impl<R: Real> Work<R> {
    fn new(op: &LinearAttention) -> Self {
        let c = op.chunk;
        let zeros = |n: usize| vec![R::ZERO; n];
        let by_channel = op.decay == Decay::Channel;
        let width = if by_channel { op.dk } else { 1 };
        Self {
            width,
            p: zeros(c * width),
            s: zeros(c * width),
            gam: zeros(if by_channel { 0 } else { c * c }),
            channels: Channels::new(if by_channel { c } else { 0 }, op.dk),
            qk: zeros(c * c),
            q_p: zeros(c * op.dk),
            k_s: zeros(c * op.dk),
            o: zeros(c * op.dv),
        }
    }

    /// What does not depend on the state: decays, P, Q * p and K * s.
    fn prepare(&mut self, op: &LinearAttention, x: Inputs<'_, R>, at: Place) {
        let (c, dk, n) = (op.chunk, op.dk, at.keys.n);
        if op.decay == Decay::Channel {
            self.channels
                .factors(x.g, at.values, dk, &mut self.p, &mut self.s);
            self.channels.scores(x, at.keys, dk, &mut self.qk, c);
        } else {
            let constant = R::of(op.constant_log_decay(at.head % op.h));
            let log_decay = |i: usize| match op.decay {
                Decay::Scalar => clamped(x.g[at.values.row_at(i)]),
                _ => constant,
            };
            decay_factors(n, c, log_decay, &mut self.p, &mut self.s, &mut self.gam);
            let (q, k) = (at.keys.mat(x.q, dk), at.keys.mat(x.k, dk));
            product((n, n, dk), q, k.t(), &mut self.qk, c, R::ZERO);
            for i in 0..n {
                for j in i * c..=i * c + i {
                    self.qk[j] *= self.gam[j];
                }
                // The upper triangle of a product may hold anything, also infinities.
                self.qk[i * c + i + 1..(i + 1) * c].fill(R::ZERO);
            }
        }
        for i in 0..n {
            let rows = i * dk..(i + 1) * dk;
            self.q_p[rows.clone()].copy_from_slice(at.keys.at(x.q, dk, i));
            self.k_s[rows].copy_from_slice(at.keys.at(x.k, dk, i));
        }
        decay_rows(&mut self.q_p[..n * dk], &self.p, self.width, dk);
        decay_rows(&mut self.k_s[..n * dk], &self.s, self.width, dk);
    }

    /// `y = diag(a) x` with the decay of the whole chunk of `n` tokens; rows of width `dv`.
    fn decayed(&self, y: &mut [R], x: &[R], n: usize, dv: usize) {
        for (channel, (y, x)) in y.chunks_mut(dv).zip(x.chunks(dv)).enumerate() {
            let a = self.whole_decay(n, channel);
            y.iter_mut().zip(x).for_each(|(y, x)| *y = a * *x);
        }
    }

    /// Decay of a key channel over the whole chunk of `n` tokens.
    fn whole_decay(&self, n: usize, channel: usize) -> R {
        self.p[(n - 1) * self.width + channel % self.width]
    }
}

/// Rows of width `d` times a factor each (`width` 1) or a factor each element.
fn decay_rows<R: Real>(x: &mut [R], factors: &[R], width: usize, d: usize) {
    if width == 1 {
        for (row, f) in x.chunks_mut(d).zip(factors) {
            row.iter_mut().for_each(|x| *x *= *f);
        }
    } else {
        x.iter_mut().zip(factors).for_each(|(x, f)| *x *= *f);
    }
}

impl CpuOp for LinearAttention {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, ins: &[In<'_, R>], outs: &mut [Out<'_, R>]) {
        let x = Inputs::new(ins);
        let [o, s] = outs else {
            unreachable!("the ports say two outputs")
        };
        let s = s.real();
        let heads = head_rows(o.real(), self.dv, self.t, self.h);
        let states = s.len() / heads.len();
        heads
            .into_par_iter()
            .zip(s.par_chunks_mut(states))
            .enumerate()
            .for_each_init(
                || Work::new(self),
                |w, (head, (o, s))| self.head_fwd(x, head, o, s, w),
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
        let x = Inputs::new(ins);
        let (s, d_o) = (outs[1].real(), d_outs[0].real());
        let (d_keys, d_others) = d_ins.split_at_mut(2);
        let [d_q, d_k] = d_keys else {
            unreachable!("q and k come first")
        };
        let (d_v, d_g) = d_others.split_at_mut(1);
        // Gradients that nobody wants still need a place.
        let mut spare: [Vec<R>; 4] = Default::default();
        let [spare_q, spare_k, spare_v, spare_g] = &mut spare;
        let (t, h) = (self.t, self.h);
        let keys = |data| head_rows(data, self.dk, t, self.key_heads());
        let d_q = keys(wanted_or(d_q, spare_q, x.q.len()));
        let d_k = keys(wanted_or(d_k, spare_k, x.k.len()));
        let mut d_v = head_rows(wanted_or(&mut d_v[0], spare_v, x.v.len()), self.dv, t, h);
        let mut d_g = match d_g.first_mut() {
            Some(d_g) => head_rows(wanted_or(d_g, spare_g, x.g.len()), self.gate_width(), t, h),
            None => (0..self.b * h).map(|_| Vec::new()).collect(),
        };
        // Heads with the same queries and keys are one piece of work: their gradients are sums.
        let together = h / self.key_heads();
        let values = d_v.par_chunks_mut(together).zip(d_g.par_chunks_mut(together));
        d_q.into_par_iter()
            .zip(d_k)
            .zip(values)
            .enumerate()
            .for_each_init(
                || (Work::new(self), BackwardWork::new(self)),
                |(w, bw), (group, ((mut q, mut k), (v, g)))| {
                    for (i, (v, g)) in v.iter_mut().zip(g).enumerate() {
                        let mut grads = HeadGrads {
                            q: &mut q,
                            k: &mut k,
                            v,
                            g,
                            add_keys: i > 0,
                        };
                        self.head_bwd(x, group * together + i, s, d_o, &mut grads, w, bw);
                    }
                },
            );
    }
}

impl LinearAttention {
    /// Log decay of a head without gates.
    fn constant_log_decay(&self, head: usize) -> f64 {
        match self.decay {
            Decay::Constant => retention_log_decay(head),
            _ => 0.0,
        }
    }

    fn place(&self, head: usize, chunk: usize) -> Place {
        let (t, h, first) = (self.t, self.h, chunk * self.chunk);
        let n = self.chunk.min(t - first);
        let values = Chunk::new(head, t, h, first, n);
        let keys = match self.shared_qk {
            true => Chunk::new(head / h, t, 1, first, n),
            false => values,
        };
        Place { head, keys, values }
    }

    /// Forward over the chunks of one head: `o` by rows, `s` by chunks.
    fn head_fwd<R: Real>(
        &self,
        x: Inputs<'_, R>,
        head: usize,
        mut o: Vec<&mut [R]>,
        s: &mut [R],
        w: &mut Work<R>,
    ) {
        let (c, dk, dv) = (self.chunk, self.dk, self.dv);
        let scale = R::of(f64::from(self.scale));
        s[..dk * dv].fill(R::ZERO);
        for i in 0..self.chunks() {
            let at = self.place(head, i);
            let n = at.values.n;
            let (before, after) = s.split_at_mut((i + 1) * dk * dv);
            let state = &before[i * dk * dv..];
            let v = at.values.mat(x.v, dv);
            w.prepare(self, x, at);
            let q_p = Mat::rows(&w.q_p, dk);
            product((n, dv, dk), q_p, Mat::rows(state, dv), &mut w.o, dv, R::ZERO);
            product((n, dv, n), Mat::rows(&w.qk, c), v, &mut w.o, dv, R::ONE);
            for (to, from) in o[i * c..].iter_mut().zip(w.o.chunks(dv)).take(n) {
                to.iter_mut().zip(from).for_each(|(to, from)| *to = scale * *from);
            }
            if !after.is_empty() {
                let next = &mut after[..dk * dv];
                w.decayed(next, state, n, dv);
                product((dk, dv, n), Mat::rows(&w.k_s, dk).t(), v, next, dv, R::ONE);
            }
        }
    }
}

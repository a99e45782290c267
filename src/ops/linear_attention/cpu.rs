mod backward;

use self::backward::{BackwardWork, HeadGrads};
use super::LinearAttention;
use crate::ops::Decay;
use crate::ops::chunks::channel::Channels;
use crate::ops::chunks::{Chunk, clamped, decay_factors, head_rows, product, retention_log_decay};
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
    /// Empty without gates.
    g: &'a [R],
}

impl<'a, R: Real> Inputs<'a, R> {
    fn new(io: &Slices<'a, R>) -> Self {
        Self {
            q: io.read("q"),
            k: io.read("k"),
            v: io.read("v"),
            g: io.read_if("g").or(io.read_if("gk")).unwrap_or_default(),
        }
    }
}

/// A chunk of one head.
#[derive(Clone, Copy)]
struct ChunkRows {
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
    decay_in: Vec<R>,
    /// `[C, width]`: decay from each token to the chunk's end.
    decay_out: Vec<R>,
    /// `[C,C]`, lower triangle with diagonal: decay from token j to token i. Not for Channel.
    gam: Vec<R>,
    /// Channel only.
    channels: Channels<R>,
    /// `[C,C]`: P.
    scores: Vec<R>,
    /// `[C,d_k]`: Q * in.
    decayed_q: Vec<R>,
    /// `[C,d_k]`: K * out.
    decayed_k: Vec<R>,
    /// `[C,d_v]`.
    o: Vec<R>,
}

impl<R: Real> Work<R> {
    fn new(op: &LinearAttention) -> Self {
        let c = op.chunk;
        let zeros = |n: usize| vec![R::ZERO; n];
        let by_channel = op.decay == Decay::Channel;
        let width = if by_channel { op.d_k } else { 1 };
        Self {
            width,
            decay_in: zeros(c * width),
            decay_out: zeros(c * width),
            gam: zeros(if by_channel { 0 } else { c * c }),
            channels: Channels::new(if by_channel { c } else { 0 }, op.d_k),
            scores: zeros(c * c),
            decayed_q: zeros(c * op.d_k),
            decayed_k: zeros(c * op.d_k),
            o: zeros(c * op.d_v),
        }
    }

    /// What does not depend on the state: decays, P, Q * in and K * out.
    #[inline(always)]
    fn chunk_prep(&mut self, op: &LinearAttention, x: Inputs<'_, R>, at: ChunkRows) {
        let (c, d_k, n) = (op.chunk, op.d_k, at.keys.n);
        if op.decay == Decay::Channel {
            let (decay_in, decay_out) = (&mut self.decay_in, &mut self.decay_out);
            let log = |i: usize| Some(at.values.at(x.g, d_k, i));
            self.channels.factors(n, log, decay_in, decay_out);
            let (q, k) = (
                |i: usize| at.keys.at(x.q, d_k, i),
                |j: usize| at.keys.at(x.k, d_k, j),
            );
            self.channels.pair(n, q, k, &mut self.scores, c);
        } else {
            let constant = R::of(op.constant_log_decay(at.head % op.h));
            let log_decay = |i: usize| match op.decay {
                Decay::Scalar => clamped(x.g[at.values.row_at(i)]),
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
            let (q, k) = (at.keys.mat(x.q, d_k), at.keys.mat(x.k, d_k));
            product((n, n, d_k), q, k.t(), &mut self.scores, c, R::ZERO);
            let rows = self.scores.chunks_exact_mut(c).zip(self.gam.chunks_exact(c));
            for (i, (scores, gam)) in rows.take(n).enumerate() {
                let (seen, masked) = scores.split_at_mut(i + 1);
                seen.iter_mut().zip(gam).for_each(|(x, gam)| *x *= *gam);
                // The upper triangle of a product may hold anything, also infinities.
                masked.fill(R::ZERO);
            }
        }
        for i in 0..n {
            let rows = i * d_k..(i + 1) * d_k;
            self.decayed_q[rows.clone()].copy_from_slice(at.keys.at(x.q, d_k, i));
            self.decayed_k[rows].copy_from_slice(at.keys.at(x.k, d_k, i));
        }
        decay_rows(&mut self.decayed_q[..n * d_k], &self.decay_in, self.width, d_k);
        decay_rows(&mut self.decayed_k[..n * d_k], &self.decay_out, self.width, d_k);
    }

    /// `y = diag(a) x` with the decay of the whole chunk of `n` tokens; rows of width `d_v`.
    #[inline(always)]
    fn decayed(&self, y: &mut [R], x: &[R], n: usize, d_v: usize) {
        for (channel, (y, x)) in y.chunks_mut(d_v).zip(x.chunks(d_v)).enumerate() {
            let a = self.whole_decay(n, channel);
            y.iter_mut().zip(x).for_each(|(y, x)| *y = a * *x);
        }
    }

    /// Decay of a key channel over the whole chunk of `n` tokens.
    fn whole_decay(&self, n: usize, channel: usize) -> R {
        self.decay_in[(n - 1) * self.width + channel % self.width]
    }
}

/// Rows of width `d` times a factor each (`width` 1) or a factor each element.
#[inline(always)]
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
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let x = Inputs::new(&io);
        let (o, states) = (io.write("o"), io.write("states"));
        let heads = head_rows(o, self.d_v, self.t, self.h);
        let per_state = states.len() / heads.len();
        heads
            .into_par_iter()
            .zip(states.par_chunks_mut(per_state))
            .enumerate()
            .for_each_init(
                || Work::new(self),
                |w, (head, (o, states))| {
                    vectorize(
                        #[inline(always)]
                        || self.head_fwd(x, head, o, states, w),
                    );
                },
            );
    }

    fn cpu_bwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let x = Inputs::new(&io);
        let (states, grad_o) = (io.read("states"), io.grad("o"));
        // Gradients that nobody wants still need a place.
        let mut spare: [Vec<R>; 4] = Default::default();
        let [spare_q, spare_k, spare_v, spare_g] = &mut spare;
        let (t, h) = (self.t, self.h);
        let keys = |data| head_rows(data, self.d_k, t, self.key_heads());
        let grad_q = keys(wanted_or(io.wanted("q"), spare_q, x.q.len()));
        let grad_k = keys(wanted_or(io.wanted("k"), spare_k, x.k.len()));
        let mut grad_v = head_rows(wanted_or(io.wanted("v"), spare_v, x.v.len()), self.d_v, t, h);
        let wanted_g = io.wanted("g").or(io.wanted("gk"));
        let mut grad_g = match self.decay.width(self.d_k) {
            width @ 1.. => head_rows(wanted_or(wanted_g, spare_g, x.g.len()), width, t, h),
            0 => (0..self.b * h).map(|_| Vec::new()).collect(),
        };
        // Heads with the same queries and keys are one piece of work: their gradients are sums.
        let together = h / self.key_heads();
        let values = grad_v
            .par_chunks_mut(together)
            .zip(grad_g.par_chunks_mut(together));
        grad_q
            .into_par_iter()
            .zip(grad_k)
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
                        vectorize(
                            #[inline(always)]
                            || self.head_bwd(x, group * together + i, states, grad_o, &mut grads, w, bw),
                        );
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

    fn rows_of(&self, head: usize, chunk: usize) -> ChunkRows {
        let (t, h, first) = (self.t, self.h, chunk * self.chunk);
        let n = self.chunk.min(t - first);
        let values = Chunk::new(head, t, h, first, n);
        let keys = match self.shared_qk {
            true => Chunk::new(head / h, t, 1, first, n),
            false => values,
        };
        ChunkRows { head, keys, values }
    }

    /// Forward over the chunks of one head: `o` by rows, `states` by chunks.
    #[inline(always)]
    fn head_fwd<R: Real>(
        &self,
        x: Inputs<'_, R>,
        head: usize,
        mut o: Vec<&mut [R]>,
        states: &mut [R],
        w: &mut Work<R>,
    ) {
        let (c, d_k, d_v) = (self.chunk, self.d_k, self.d_v);
        let scale = R::of(f64::from(self.scale));
        states[..d_k * d_v].fill(R::ZERO);
        for i in 0..self.chunks() {
            let at = self.rows_of(head, i);
            let n = at.values.n;
            let (before, after) = states.split_at_mut((i + 1) * d_k * d_v);
            let state = &before[i * d_k * d_v..];
            let v = at.values.mat(x.v, d_v);
            w.chunk_prep(self, x, at);
            let decayed_q = Mat::rows(&w.decayed_q, d_k);
            product(
                (n, d_v, d_k),
                decayed_q,
                Mat::rows(state, d_v),
                &mut w.o,
                d_v,
                R::ZERO,
            );
            product((n, d_v, n), Mat::rows(&w.scores, c), v, &mut w.o, d_v, R::ONE);
            for (to, from) in o[i * c..].iter_mut().zip(w.o.chunks(d_v)).take(n) {
                to.iter_mut().zip(from).for_each(|(to, from)| *to = scale * *from);
            }
            if !after.is_empty() {
                let next = &mut after[..d_k * d_v];
                w.decayed(next, state, n, d_v);
                product(
                    (d_k, d_v, n),
                    Mat::rows(&w.decayed_k, d_k).t(),
                    v,
                    next,
                    d_v,
                    R::ONE,
                );
            }
        }
    }
}

use super::{CHUNK, SelectiveScan};
use crate::ops::reduce::add_partials;
use crate::ops::rows::dot;
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices, vectorize};
use rayon::prelude::*;

/// Pieces that the channels of a sequence are split into for the threads, whatever their number.
const PIECES: usize = 4;

/// The inputs; empty where the variant has none.
struct Inputs<'a, R> {
    u: &'a [R],
    delta_raw: &'a [R],
    z: &'a [R],
    bm: &'a [R],
    cm: &'a [R],
    delta_bias: &'a [R],
    skip: &'a [R],
    /// A = -exp(`A_log`); 0 without decays.
    a: Vec<R>,
}

impl<'a, R: Real> Inputs<'a, R> {
    fn new(op: &SelectiveScan, io: &Slices<'a, R>) -> Self {
        let or_none = |name| io.read_if(name).unwrap_or_default();
        let mut a = or_none("A_log").to_vec();
        for a in &mut a {
            *a = -a.exp();
        }
        a.resize(op.channels * op.states, R::ZERO);
        Self {
            u: io.read("u"),
            delta_raw: or_none("delta_raw"),
            z: or_none("z"),
            bm: io.read("Bm"),
            cm: io.read("Cm"),
            delta_bias: or_none("delta_bias"),
            skip: io.read("D"),
            a,
        }
    }
}

/// The flags. Mamba's are known when this is compiled, so that its loops hold no trace of the others.
#[derive(Clone, Copy)]
struct Flags<const MAMBA: bool> {
    gated: bool,
    tied: bool,
    decays: bool,
}

impl<const MAMBA: bool> Flags<MAMBA> {
    fn gated(self) -> bool {
        MAMBA || self.gated
    }

    fn tied(self) -> bool {
        MAMBA || self.tied
    }

    fn decays(self) -> bool {
        MAMBA || self.decays
    }

    fn timed(self) -> bool {
        self.tied() || self.decays()
    }

    /// `delta_raw + delta_bias`, and dt; 1 where there is none.
    fn step<R: Real>(self, x: &Inputs<'_, R>, at: usize, c: usize) -> (R, R) {
        if !self.timed() {
            return (R::ZERO, R::ONE);
        }
        let raw = x.delta_raw[at] + x.delta_bias[c];
        (raw, raw.softplus())
    }

    /// What u is multiplied by before it is written.
    fn share<R: Real>(self, dt: R) -> R {
        if self.tied() { dt } else { R::ONE }
    }

    /// silu(z), or 1.
    fn gate<R: Real>(self, x: &Inputs<'_, R>, at: usize) -> R {
        if self.gated() { x.z[at].silu() } else { R::ONE }
    }
}

/// Channels of one sequence.
struct Piece {
    b: usize,
    first: usize,
    count: usize,
}

/// Gradients of a piece: \[T, count\] each, \[T, N\] for dB and dC, and those of the channels' parameters.
struct Gradients<R> {
    grad_u: Vec<R>,
    grad_delta: Vec<R>,
    grad_z: Vec<R>,
    grad_b: Vec<R>,
    grad_c: Vec<R>,
    grad_a_log: Vec<R>,
    grad_bias: Vec<R>,
    grad_skip: Vec<R>,
}

/// One of a piece's gradients.
type Part<R> = fn(&Gradients<R>) -> &[R];

/// decay = exp(dt A), in a loop of its own so that it vectorises.
#[inline(always)]
fn decays<R: Real>(decay: &mut [R], a: &[R], dt: R) {
    for (d, a) in decay.iter_mut().zip(a) {
        *d = (dt * *a).exp();
    }
}

impl SelectiveScan {
    /// Mamba's flags, or others.
    fn flags(&self) -> Result<Flags<true>, Flags<false>> {
        let Self {
            gated, tied, decays, ..
        } = *self;
        if gated && tied && decays {
            return Ok(Flags { gated, tied, decays });
        }
        Err(Flags { gated, tied, decays })
    }

    fn per_piece(&self) -> usize {
        self.channels.div_ceil(PIECES)
    }

    fn pieces(&self) -> Vec<Piece> {
        let per = self.per_piece();
        let of = |b| (0..self.channels).step_by(per).map(move |first| (b, first));
        let all = (0..self.b).flat_map(of);
        let piece = |(b, first): (usize, usize)| Piece {
            b,
            first,
            count: per.min(self.channels - first),
        };
        all.map(piece).collect()
    }

    /// y \[T, count\] and the states before each chunk \[chunks, count, N\].
    #[inline(always)]
    fn forward<R: Real, const MAMBA: bool>(
        &self,
        flags: Flags<MAMBA>,
        x: &Inputs<'_, R>,
        piece: &Piece,
    ) -> (Vec<R>, Vec<R>) {
        let n = self.states;
        let mut y = vec![R::ZERO; self.t * piece.count];
        let mut saved = vec![R::ZERO; self.chunks() * piece.count * n];
        let (mut h, mut decay) = (vec![R::ZERO; n], vec![R::ONE; n]);
        for i in 0..piece.count {
            let c = piece.first + i;
            let a = &x.a[c * n..][..n];
            h.fill(R::ZERO);
            for t in 0..self.t {
                if t % CHUNK == 0 {
                    saved[(t / CHUNK * piece.count + i) * n..][..n].copy_from_slice(&h);
                }
                let row = piece.b * self.t + t;
                let at = row * self.channels + c;
                let (_, dt) = flags.step(x, at, c);
                let written = flags.share(dt) * x.u[at];
                if flags.decays() {
                    decays(&mut decay, a, dt);
                }
                for ((h, d), b) in h.iter_mut().zip(&decay).zip(&x.bm[row * n..][..n]) {
                    *h = *d * *h + written * *b;
                }
                let yp = dot(&x.cm[row * n..][..n], &h) + x.skip[c] * x.u[at];
                y[t * piece.count + i] = yp * flags.gate(x, at);
            }
        }
        (y, saved)
    }

    #[inline(always)]
    fn backward<R: Real, const MAMBA: bool>(
        &self,
        flags: Flags<MAMBA>,
        x: &Inputs<'_, R>,
        saved: &[R],
        grad_y: &[R],
        piece: &Piece,
    ) -> Gradients<R> {
        let (n, points) = (self.states, self.t * piece.count);
        let zeros = |len: usize| vec![R::ZERO; len];
        let mut out = Gradients {
            grad_u: zeros(points),
            grad_delta: zeros(points),
            grad_z: zeros(points),
            grad_b: zeros(self.t * n),
            grad_c: zeros(self.t * n),
            grad_a_log: zeros(piece.count * n),
            grad_bias: zeros(piece.count),
            grad_skip: zeros(piece.count),
        };
        // Of one chunk: states before and after each step, decays.
        let (mut h, mut decay) = (zeros((CHUNK + 1) * n), vec![R::ONE; CHUNK * n]);
        // a_{t+1} lam_{t+1}, lam_t, m_t.
        let (mut q, mut lam, mut m) = (zeros(n), zeros(n), zeros(n));
        for i in 0..piece.count {
            let c = piece.first + i;
            let a = &x.a[c * n..][..n];
            q.fill(R::ZERO);
            for chunk in (0..self.chunks()).rev() {
                let t0 = chunk * CHUNK;
                let tokens = CHUNK.min(self.t - t0);
                let from = ((piece.b * self.chunks() + chunk) * self.channels + c) * n;
                h[..n].copy_from_slice(&saved[from..][..n]);
                for j in 0..tokens {
                    let row = piece.b * self.t + t0 + j;
                    let at = row * self.channels + c;
                    let (_, dt) = flags.step(x, at, c);
                    let written = flags.share(dt) * x.u[at];
                    let decay = &mut decay[j * n..][..n];
                    if flags.decays() {
                        decays(decay, a, dt);
                    }
                    let (old, new) = h[j * n..][..2 * n].split_at_mut(n);
                    let b = &x.bm[row * n..][..n];
                    for k in 0..n {
                        new[k] = decay[k] * old[k] + written * b[k];
                    }
                }
                for j in (0..tokens).rev() {
                    let t = t0 + j;
                    let row = piece.b * self.t + t;
                    let at = row * self.channels + c;
                    let ((raw, dt), u) = (flags.step(x, at, c), x.u[at]);
                    let share = flags.share(dt);
                    let (written, grad_p) = (share * u, grad_y[at] * flags.gate(x, at));
                    let (b, cm) = (&x.bm[row * n..][..n], &x.cm[row * n..][..n]);
                    let (old, new) = h[j * n..][..2 * n].split_at(n);
                    let decay = &decay[j * n..][..n];
                    let (grad_b, grad_c) = (&mut out.grad_b[t * n..][..n], &mut out.grad_c[t * n..][..n]);
                    let grad_a = &mut out.grad_a_log[i * n..][..n];
                    for k in 0..n {
                        lam[k] = grad_p * cm[k] + q[k];
                        q[k] = decay[k] * lam[k];
                        m[k] = q[k] * old[k];
                        grad_a[k] += m[k] * dt;
                        grad_b[k] += lam[k] * written;
                        grad_c[k] += grad_p * new[k];
                    }
                    let (lam_b, yp) = (dot(&lam, b), dot(cm, new) + x.skip[c] * u);
                    let point = t * piece.count + i;
                    out.grad_u[point] = x.skip[c] * grad_p + share * lam_b;
                    let grad_share = if flags.tied() { u * lam_b } else { R::ZERO };
                    out.grad_delta[point] = (dot(&m, a) + grad_share) * raw.sigmoid();
                    if flags.gated() {
                        out.grad_z[point] = grad_y[at] * yp * x.z[at].silu_slope();
                    }
                    out.grad_skip[i] += grad_p * u;
                    out.grad_bias[i] += out.grad_delta[point];
                }
            }
            for (grad_a, a) in out.grad_a_log[i * n..][..n].iter_mut().zip(a) {
                *grad_a *= *a;
            }
        }
        out
    }

    /// Puts the pieces' parts \[rows, count, width\] into a tensor \[B, rows, E, width\].
    fn join<R: Real>(&self, out: &mut [R], pieces: &[Piece], width: usize, parts: &[&[R]]) {
        let of_sequence = pieces.len() / self.b;
        let row = self.channels * width;
        out.par_chunks_mut(out.len() / self.b)
            .enumerate()
            .for_each(|(b, out)| {
                for i in b * of_sequence..(b + 1) * of_sequence {
                    let (first, len) = (pieces[i].first * width, pieces[i].count * width);
                    for (out, part) in out.chunks_mut(row).zip(parts[i].chunks(len)) {
                        out[first..][..len].copy_from_slice(part);
                    }
                }
            });
    }
}

impl CpuOp for SelectiveScan {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (x, pieces) = (Inputs::new(self, &io), self.pieces());
        let run = |p| match self.flags() {
            Ok(flags) => vectorize(
                #[inline(always)]
                || self.forward(flags, &x, p),
            ),
            Err(flags) => vectorize(
                #[inline(always)]
                || self.forward(flags, &x, p),
            ),
        };
        let parts: Vec<_> = pieces.par_iter().map(run).collect();
        let y: Vec<&[R]> = parts.iter().map(|(y, _)| &y[..]).collect();
        let saved: Vec<&[R]> = parts.iter().map(|(_, saved)| &saved[..]).collect();
        self.join(io.write("y"), &pieces, 1, &y);
        self.join(io.write("saved"), &pieces, self.states, &saved);
    }

    fn cpu_bwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (x, pieces) = (Inputs::new(self, &io), self.pieces());
        let (saved, grad_y) = (io.read("saved"), io.grad("y"));
        let parts: Vec<_> = pieces
            .par_iter()
            .map(|p| match self.flags() {
                Ok(flags) => vectorize(
                    #[inline(always)]
                    || self.backward(flags, &x, saved, grad_y, p),
                ),
                Err(flags) => vectorize(
                    #[inline(always)]
                    || self.backward(flags, &x, saved, grad_y, p),
                ),
            })
            .collect();
        let points: [(_, Part<R>); 3] = [
            ("u", |g| &g.grad_u),
            ("delta_raw", |g| &g.grad_delta),
            ("z", |g| &g.grad_z),
        ];
        for (port, of) in points {
            if let Some((out, _)) = io.wanted(port) {
                let parts: Vec<&[R]> = parts.iter().map(of).collect();
                self.join(out, &pieces, 1, &parts);
            }
        }
        let rows: [(_, Part<R>); 2] = [("Bm", |g| &g.grad_b), ("Cm", |g| &g.grad_c)];
        for (port, of) in rows {
            let Some(sum) = io.sum(port) else { continue };
            for (p, part) in pieces.iter().zip(&parts) {
                let len = self.t * self.states;
                add_partials(&mut sum[p.b * len..][..len], of(part));
            }
        }
        let channels: [(_, Part<R>, usize); 3] = [
            ("A_log", |g| &g.grad_a_log, self.states),
            ("delta_bias", |g| &g.grad_bias, 1),
            ("D", |g| &g.grad_skip, 1),
        ];
        for (port, of, width) in channels {
            let Some(sum) = io.sum(port) else { continue };
            for (p, part) in pieces.iter().zip(&parts) {
                add_partials(&mut sum[p.first * width..][..p.count * width], of(part));
            }
        }
    }
}

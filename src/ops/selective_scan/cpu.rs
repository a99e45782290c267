use super::{CHUNK, SelectiveScan};
use crate::cpu::{In, Out, Real};
use crate::ops::CpuOp;
use crate::ops::reduce::add_partials;
use crate::ops::rows::dot;
use crate::step::StepParams;
use rayon::prelude::*;

/// Pieces that the channels of a sequence are split into for the threads, whatever their number.
const PIECES: usize = 4;

/// The inputs.
struct Inputs<'a, R> {
    u: &'a [R],
    delta_raw: &'a [R],
    z: &'a [R],
    bm: &'a [R],
    cm: &'a [R],
    delta_bias: &'a [R],
    skip: &'a [R],
    /// A = -exp(`A_log`).
    a: Vec<R>,
}

impl<'a, R: Real> Inputs<'a, R> {
    fn new(ins: &[In<'a, R>]) -> Self {
        let mut a = ins[5].real().to_vec();
        for a in &mut a {
            *a = -a.exp();
        }
        Self {
            u: ins[0].real(),
            delta_raw: ins[1].real(),
            z: ins[2].real(),
            bm: ins[3].real(),
            cm: ins[4].real(),
            delta_bias: ins[6].real(),
            skip: ins[7].real(),
            a,
        }
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
    du: Vec<R>,
    ddelta: Vec<R>,
    dz: Vec<R>,
    db: Vec<R>,
    dc: Vec<R>,
    da_log: Vec<R>,
    d_bias: Vec<R>,
    d_skip: Vec<R>,
}

/// One of a piece's gradients.
type Part<R> = fn(&Gradients<R>) -> &[R];

/// decay = exp(dt A), in a loop of its own so that it vectorises.
fn decays<R: Real>(decay: &mut [R], a: &[R], dt: R) {
    for (d, a) in decay.iter_mut().zip(a) {
        *d = (dt * *a).exp();
    }
}

impl SelectiveScan {
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
    fn forward<R: Real>(&self, x: &Inputs<'_, R>, piece: &Piece) -> (Vec<R>, Vec<R>) {
        let n = self.states;
        let mut y = vec![R::ZERO; self.t * piece.count];
        let mut saved = vec![R::ZERO; self.chunks() * piece.count * n];
        let (mut h, mut decay) = (vec![R::ZERO; n], vec![R::ZERO; n]);
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
                let dt = (x.delta_raw[at] + x.delta_bias[c]).softplus();
                let dtu = dt * x.u[at];
                decays(&mut decay, a, dt);
                for ((h, d), b) in h.iter_mut().zip(&decay).zip(&x.bm[row * n..][..n]) {
                    *h = *d * *h + dtu * *b;
                }
                let yp = dot(&x.cm[row * n..][..n], &h) + x.skip[c] * x.u[at];
                y[t * piece.count + i] = yp * x.z[at].silu();
            }
        }
        (y, saved)
    }

    fn backward<R: Real>(&self, x: &Inputs<'_, R>, saved: &[R], dy: &[R], piece: &Piece) -> Gradients<R> {
        let (n, points) = (self.states, self.t * piece.count);
        let zeros = |len: usize| vec![R::ZERO; len];
        let mut out = Gradients {
            du: zeros(points),
            ddelta: zeros(points),
            dz: zeros(points),
            db: zeros(self.t * n),
            dc: zeros(self.t * n),
            da_log: zeros(piece.count * n),
            d_bias: zeros(piece.count),
            d_skip: zeros(piece.count),
        };
        // Of one chunk: states before and after each step, decays.
        let (mut h, mut decay) = (zeros((CHUNK + 1) * n), zeros(CHUNK * n));
        // a_{t+1} lam_{t+1}, lam_t, m_t.
        let (mut q, mut lam, mut m) = (zeros(n), zeros(n), zeros(n));
        for i in 0..piece.count {
            let c = piece.first + i;
            let a = &x.a[c * n..][..n];
            q.fill(R::ZERO);
            for chunk in (0..self.chunks()).rev() {
                let t0 = chunk * CHUNK;
                let steps = CHUNK.min(self.t - t0);
                let from = ((piece.b * self.chunks() + chunk) * self.channels + c) * n;
                h[..n].copy_from_slice(&saved[from..][..n]);
                for j in 0..steps {
                    let row = piece.b * self.t + t0 + j;
                    let at = row * self.channels + c;
                    let dt = (x.delta_raw[at] + x.delta_bias[c]).softplus();
                    let dtu = dt * x.u[at];
                    let decay = &mut decay[j * n..][..n];
                    decays(decay, a, dt);
                    let (old, new) = h[j * n..][..2 * n].split_at_mut(n);
                    let b = &x.bm[row * n..][..n];
                    for k in 0..n {
                        new[k] = decay[k] * old[k] + dtu * b[k];
                    }
                }
                for j in (0..steps).rev() {
                    let t = t0 + j;
                    let row = piece.b * self.t + t;
                    let at = row * self.channels + c;
                    let raw = x.delta_raw[at] + x.delta_bias[c];
                    let (dt, u, z) = (raw.softplus(), x.u[at], x.z[at]);
                    let (dtu, dp) = (dt * u, dy[at] * z.silu());
                    let (b, cm) = (&x.bm[row * n..][..n], &x.cm[row * n..][..n]);
                    let (old, new) = h[j * n..][..2 * n].split_at(n);
                    let decay = &decay[j * n..][..n];
                    let (db, dc) = (&mut out.db[t * n..][..n], &mut out.dc[t * n..][..n]);
                    let da = &mut out.da_log[i * n..][..n];
                    for k in 0..n {
                        lam[k] = dp * cm[k] + q[k];
                        q[k] = decay[k] * lam[k];
                        m[k] = q[k] * old[k];
                        da[k] += m[k] * dt;
                        db[k] += lam[k] * dtu;
                        dc[k] += dp * new[k];
                    }
                    let (lam_b, yp) = (dot(&lam, b), dot(cm, new) + x.skip[c] * u);
                    let point = t * piece.count + i;
                    out.du[point] = x.skip[c] * dp + dt * lam_b;
                    out.ddelta[point] = (dot(&m, a) + u * lam_b) * raw.sigmoid();
                    out.dz[point] = dy[at] * yp * z.d_silu();
                    out.d_skip[i] += dp * u;
                    out.d_bias[i] += out.ddelta[point];
                }
            }
            for (da, a) in out.da_log[i * n..][..n].iter_mut().zip(a) {
                *da *= *a;
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
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, ins: &[In<'_, R>], outs: &mut [Out<'_, R>]) {
        let (x, pieces) = (Inputs::new(ins), self.pieces());
        let parts: Vec<_> = pieces.par_iter().map(|p| self.forward(&x, p)).collect();
        let y: Vec<&[R]> = parts.iter().map(|(y, _)| &y[..]).collect();
        let saved: Vec<&[R]> = parts.iter().map(|(_, saved)| &saved[..]).collect();
        self.join(outs[0].real(), &pieces, 1, &y);
        self.join(outs[1].real(), &pieces, self.states, &saved);
    }

    fn cpu_bwd<R: Real>(
        &self,
        _step: &StepParams,
        ins: &[In<'_, R>],
        outs: &[In<'_, R>],
        d_outs: &[In<'_, R>],
        d_ins: &mut [Out<'_, R>],
    ) {
        let (x, pieces) = (Inputs::new(ins), self.pieces());
        let (saved, dy) = (outs[1].real(), d_outs[0].real());
        let parts: Vec<_> = pieces
            .par_iter()
            .map(|p| self.backward(&x, saved, dy, p))
            .collect();
        let points: [Part<R>; 3] = [|g| &g.du, |g| &g.ddelta, |g| &g.dz];
        for (port, of) in points.into_iter().enumerate() {
            if let Some((out, _)) = d_ins[port].wanted() {
                let parts: Vec<&[R]> = parts.iter().map(of).collect();
                self.join(out, &pieces, 1, &parts);
            }
        }
        let rows: [Part<R>; 2] = [|g| &g.db, |g| &g.dc];
        for (port, of) in rows.into_iter().enumerate() {
            let Some(sum) = d_ins[3 + port].sum() else { continue };
            for (p, part) in pieces.iter().zip(&parts) {
                let len = self.t * self.states;
                add_partials(&mut sum[p.b * len..][..len], of(part));
            }
        }
        let channels: [(Part<R>, usize); 3] = [
            (|g| &g.da_log, self.states),
            (|g| &g.d_bias, 1),
            (|g| &g.d_skip, 1),
        ];
        for (port, (of, width)) in channels.into_iter().enumerate() {
            let Some(sum) = d_ins[5 + port].sum() else { continue };
            for (p, part) in pieces.iter().zip(&parts) {
                add_partials(&mut sum[p.first * width..][..p.count * width], of(part));
            }
        }
    }
}

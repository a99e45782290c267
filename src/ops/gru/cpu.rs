use super::Gru;
use crate::ops::linear::cpu as linear;
use crate::step::StepParams;
use crate::twin::matmul::{Mat, Threads, matmul};
use crate::twin::{CpuOp, Real, Slices};
use rayon::prelude::*;

/// (sigma(x), 1 - sigma(x)).
#[inline(always)]
fn sigmoids<R: Real>(x: R) -> (R, R) {
    let e = (-x.abs()).exp();
    let (large, small) = (R::ONE / (R::ONE + e), e / (R::ONE + e));
    if x >= R::ZERO {
        (large, small)
    } else {
        (small, large)
    }
}

/// (tanh x, 1 - tanh^2 x).
#[inline(always)]
fn tanh_slope<R: Real>(x: R) -> (R, R) {
    let e = (R::of(-2.0) * x.abs()).exp();
    let inv = R::ONE / (R::ONE + e);
    (x.tanh(), R::of(4.0) * e * inv * inv)
}

/// Thirds of a row.
fn thirds<R>(row: &[R]) -> [&[R]; 3] {
    let (r, rest) = row.split_at(row.len() / 3);
    let (z, m) = rest.split_at(rest.len() / 2);
    [r, z, m]
}

/// h of a step of one sequence: `x` and `s` are its rows, `before` is h of the step before.
pub(crate) fn step_fwd<R: Real>(x: &[R], s: &[R], before: &[R], h: &mut [R]) {
    let ([xr, xz, xm], [sr, sz, sm]) = (thirds(x), thirds(s));
    for c in 0..h.len() {
        let (r, _) = sigmoids(xr[c] + sr[c]);
        let (z, other) = sigmoids(xz[c] + sz[c]);
        let m = (xm[c] + r * sm[c]).tanh();
        h[c] = other * m + z * before[c];
    }
}

/// Gradients of a step of one sequence: `s` becomes ds and `grad_h` z dh.
fn step_bwd<R: Real>(x: &[R], s: &mut [R], before: &[R], grad_h: &mut [R], grad_x: &mut [R]) {
    let d = grad_h.len();
    let [xr, xz, xm] = thirds(x);
    for c in 0..d {
        let (r, r_other) = sigmoids(xr[c] + s[c]);
        let (z, z_other) = sigmoids(xz[c] + s[d + c]);
        let sm = s[2 * d + c];
        let (m, slope) = tanh_slope(xm[c] + r * sm);
        let grad_m = grad_h[c] * z_other * slope;
        let grad_z = grad_h[c] * (before[c] - m) * z * z_other;
        let grad_r = grad_m * sm * r * r_other;
        (grad_x[c], grad_x[d + c], grad_x[2 * d + c]) = (grad_r, grad_z, grad_m);
        (s[c], s[d + c], s[2 * d + c]) = (grad_r, grad_z, grad_m * r);
        grad_h[c] *= z;
    }
}

impl CpuOp for Gru {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (xg, w, bias, h) = (
            io.read("xg"),
            io.read("weight_hh"),
            io.read("bias_hh"),
            io.write("h"),
        );
        let (t, d) = (self.t, self.d);
        let mut s = vec![R::ZERO; self.b * 3 * d];
        for step in 0..t {
            s.par_chunks_mut(3 * d).for_each(|s| s.copy_from_slice(bias));
            if step > 0 {
                let before = Mat {
                    data: &h[(step - 1) * d..],
                    rs: t * d,
                    cs: 1,
                };
                let shape = (self.b, 3 * d, d);
                matmul(
                    shape,
                    before,
                    Mat::rows(w, d).t(),
                    &mut s,
                    3 * d,
                    R::ONE,
                    R::ONE,
                    Threads::All,
                );
            }
            let zeros = vec![R::ZERO; d];
            h.par_chunks_mut(t * d)
                .zip(xg.par_chunks(t * 3 * d).zip(s.par_chunks(3 * d)))
                .for_each(|(h, (x, s))| {
                    let (past, now) = h.split_at_mut(step * d);
                    let before = past.rchunks(d).next().unwrap_or(&zeros);
                    step_fwd(&x[step * 3 * d..][..3 * d], s, before, &mut now[..d]);
                });
        }
    }

    fn cpu_bwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (xg, w, bias) = (io.read("xg"), io.read("weight_hh"), io.read("bias_hh"));
        let (h, grad_y) = (io.read("h"), io.grad("h"));
        let (b, t, d) = (self.b, self.t, self.d);
        let mut unread = Vec::new();
        let grad_xg = crate::ops::reduce::wanted_or(io.wanted("xg"), &mut unread, xg.len());
        // Row b T + t holds s of step t + 1, and then its ds; ds of step 0 is in `start`.
        let mut g = vec![R::ZERO; b * t * 3 * d];
        linear::fwd(&self.product(b * t), h, w, Some(bias), &mut g);
        let mut start: Vec<R> = bias.repeat(b);
        let mut grad_h = vec![R::ZERO; b * d];
        for step in (0..t).rev() {
            if step + 1 < t {
                let after = Mat {
                    data: &g[step * 3 * d..],
                    rs: t * 3 * d,
                    cs: 1,
                };
                let shape = (b, d, 3 * d);
                matmul(
                    shape,
                    after,
                    Mat::rows(w, d),
                    &mut grad_h,
                    d,
                    R::ONE,
                    R::ONE,
                    Threads::All,
                );
            }
            let given = xg
                .par_chunks(t * 3 * d)
                .zip(h.par_chunks(t * d).zip(grad_y.par_chunks(t * d)));
            let written = g.par_chunks_mut(t * 3 * d).zip(start.par_chunks_mut(3 * d));
            grad_xg
                .par_chunks_mut(t * 3 * d)
                .zip(grad_h.par_chunks_mut(d))
                .zip(written)
                .zip(given)
                .for_each(|(((grad_x, grad_h), (g, start)), (x, (h, grad_y)))| {
                    for (grad_h, grad_y) in grad_h.iter_mut().zip(&grad_y[step * d..]) {
                        *grad_h += *grad_y;
                    }
                    let row = step * 3 * d..(step + 1) * 3 * d;
                    let (x, grad_x) = (&x[row.clone()], &mut grad_x[row]);
                    if step == 0 {
                        step_bwd(x, start, &vec![R::ZERO; d], grad_h, grad_x);
                    } else {
                        let s = &mut g[(step - 1) * 3 * d..][..3 * d];
                        step_bwd(x, s, &h[(step - 1) * d..][..d], grad_h, grad_x);
                    }
                });
        }
        // The last row is s of a step that does not exist.
        for g in g.chunks_mut(t * 3 * d) {
            g[(t - 1) * 3 * d..].fill(R::ZERO);
        }
        if let Some((grad_w, accumulate)) = io.wanted("weight_hh") {
            linear::grad_w(&self.product(b * t), &g, h, grad_w, accumulate);
        }
        if let Some((grad_b, accumulate)) = io.wanted("bias_hh") {
            linear::grad_b(&self.product(b * t), &g, grad_b, accumulate);
            linear::grad_b(&self.product(b), &start, grad_b, true);
        }
    }
}

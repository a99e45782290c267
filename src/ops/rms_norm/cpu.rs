use super::{Kind, RmsNorm};
use crate::ops::reduce::{Pieces, add_partials, wanted_or};
use crate::ops::rows::dot;
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices, vectorize};
use rayon::prelude::*;

impl RmsNorm {
    /// The row that is normalised.
    #[inline(always)]
    fn gate<R: Real>(&self, m: &mut [R], x: &[R], g: &[R]) {
        m.copy_from_slice(x);
        if self.kind == Kind::GateBefore {
            m.iter_mut().zip(g).for_each(|(m, g)| *m *= g.silu());
        }
    }

    /// Multiplies by what a gate after the norm makes of `g`.
    #[inline(always)]
    fn activate<R: Real>(&self, y: &mut [R], g: &[R]) {
        let rows = y.iter_mut().zip(g);
        match self.kind {
            Kind::SigmoidAfter => {
                for (y, g) in rows {
                    *y *= g.sigmoid();
                }
            }
            _ => {
                for (y, g) in rows {
                    *y *= g.silu();
                }
            }
        }
    }

    /// The same of `y`, and multiplies `z` by the derivative.
    #[inline(always)]
    fn activate_both<R: Real>(&self, y: &mut [R], z: &mut [R], g: &[R]) {
        let rows = y.iter_mut().zip(z).zip(g);
        match self.kind {
            Kind::SigmoidAfter => {
                for ((y, z), g) in rows {
                    let s = g.sigmoid();
                    *y *= s;
                    *z *= s * (-*g).sigmoid();
                }
            }
            _ => {
                for ((y, z), g) in rows {
                    *y *= g.silu();
                    *z *= g.silu_slope();
                }
            }
        }
    }

    /// Factor of the row and what is saved of it.
    fn factor<R: Real>(&self, mean: R) -> (R, R) {
        let eps = R::of(f64::from(self.eps));
        match self.kind {
            Kind::OuterEps => (R::ONE / (mean.sqrt() + eps), mean.sqrt()),
            _ => {
                let s = R::ONE / (mean + eps).sqrt();
                (s, s)
            }
        }
    }

    /// Factor of the row and of its backward correction, from what is saved.
    fn factors<R: Real>(&self, saved: R) -> (R, R) {
        match self.kind {
            Kind::OuterEps => {
                let per_root = if saved > R::ZERO { R::ONE / saved } else { R::ZERO };
                (R::ONE / (saved + R::of(f64::from(self.eps))), per_root)
            }
            _ => (saved, saved),
        }
    }

    /// A row of the gate, empty without one.
    fn gate_row<'a, R: Real>(&self, g: Option<&'a [R]>, row: usize) -> &'a [R] {
        g.map_or(&[], |g| &g[row * self.d..][..self.d])
    }
}

impl CpuOp for RmsNorm {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (x, w, gate) = (io.read("x"), io.read("w"), io.read_if("g"));
        let (y, saved) = (io.write("y"), io.write("s"));
        let (d, per) = (self.d, Pieces::new(self.rows).rows);
        let inv_d = R::of(1.0 / d as f64);
        let pieces = y.par_chunks_mut(per * d).zip(saved.par_chunks_mut(per));
        pieces.enumerate().for_each(|(piece, (y, saved))| {
            let mut m = vec![R::ZERO; d];
            vectorize(
                #[inline(always)]
                || {
                    for (i, (y, saved)) in y.chunks_exact_mut(d).zip(saved).enumerate() {
                        let row = piece * per + i;
                        let g = self.gate_row(gate, row);
                        self.gate(&mut m, &x[row * d..][..d], g);
                        let (s, keep) = self.factor(dot(&m, &m) * inv_d);
                        *saved = keep;
                        for ((y, m), w) in y.iter_mut().zip(&m).zip(w) {
                            *y = *m * s * *w;
                        }
                        if self.kind.is_after() {
                            self.activate(y, g);
                        }
                    }
                },
            );
        });
    }

    fn cpu_bwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (x, w, gate) = (io.read("x"), io.read("w"), io.read_if("g"));
        let (saved, grad_y) = (io.read("s"), io.grad("y"));
        let d = self.d;
        let inv_d = R::of(1.0 / d as f64);
        let pieces = Pieces::new(self.rows);
        let mut grad_w = pieces.partials(d);
        let mut unread = [Vec::new(), Vec::new()];
        let [unread_dx, unread_dg] = &mut unread;
        let grad_x = wanted_or(io.wanted("x"), unread_dx, x.len());
        let grad_g = match self.kind.gated() {
            true => wanted_or(io.wanted("g"), unread_dg, x.len()),
            false => {
                // One element a row, so that its pieces match the rows'.
                unread_dg.resize(self.rows, R::ZERO);
                &mut unread_dg[..]
            }
        };
        let dg_width = grad_g.len() / self.rows;
        let parts = grad_x
            .par_chunks_mut(pieces.rows * d)
            .zip(grad_g.par_chunks_mut(pieces.rows * dg_width))
            .zip(grad_w.par_chunks_mut(d));
        parts.enumerate().for_each(|(piece, ((grad_x, grad_g), grad_w))| {
            let (mut m, mut t) = (vec![R::ZERO; d], vec![R::ZERO; d]);
            vectorize(
                #[inline(always)]
                || {
                    let rows = grad_x.chunks_exact_mut(d).zip(grad_g.chunks_exact_mut(dg_width));
                    for (i, (grad_x, grad_g)) in rows.enumerate() {
                        let row = piece * pieces.rows + i;
                        let (x, grad_y) = (&x[row * d..][..d], &grad_y[row * d..][..d]);
                        let g = self.gate_row(gate, row);
                        let (s, per_root) = self.factors(saved[row]);
                        self.gate(&mut m, x, g);
                        m.iter_mut().for_each(|m| *m *= s);
                        t.copy_from_slice(grad_y);
                        if self.kind.is_after() {
                            let of = grad_y.iter().zip(&m).zip(w);
                            for (grad_g, ((grad_y, m), w)) in grad_g.iter_mut().zip(of) {
                                *grad_g = *grad_y * *m * *w;
                            }
                            self.activate_both(&mut t, grad_g, g);
                        }
                        let rows = t.iter_mut().zip(&m).zip(w);
                        for (grad_w, ((t, m), w)) in grad_w.iter_mut().zip(rows) {
                            *grad_w += *t * *m;
                            *t *= *w;
                        }
                        let along = dot(&t, &m) * inv_d * per_root;
                        for ((grad_x, t), m) in grad_x.iter_mut().zip(&t).zip(&m) {
                            *grad_x = s * *t - *m * along;
                        }
                        if self.kind == Kind::GateBefore {
                            let of = grad_g.iter_mut().zip(x).zip(g);
                            for (grad_x, ((grad_g, x), g)) in grad_x.iter_mut().zip(of) {
                                *grad_g = *grad_x * *x * g.silu_slope();
                                *grad_x *= g.silu();
                            }
                        }
                    }
                },
            );
        });
        if let Some(sum) = io.sum("w") {
            add_partials(sum, &grad_w);
        }
    }
}

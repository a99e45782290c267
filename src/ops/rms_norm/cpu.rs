use super::{Kind, RmsNorm};
use crate::ops::reduce::{Pieces, add_partials, wanted_or};
use crate::ops::rows::dot;
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};
use rayon::prelude::*;

impl RmsNorm {
    /// The row that is normalised.
    fn gate<R: Real>(&self, m: &mut [R], x: &[R], g: &[R]) {
        m.copy_from_slice(x);
        if self.kind == Kind::GateBefore {
            for c in 0..self.d {
                m[c] *= g[c].silu();
            }
        }
    }

    /// What a gate after the norm multiplies by.
    fn activation<R: Real>(&self, g: R) -> R {
        match self.kind {
            Kind::SigmoidAfter => g.sigmoid(),
            _ => g.silu(),
        }
    }

    /// Its derivative.
    fn slope<R: Real>(&self, g: R) -> R {
        match self.kind {
            Kind::SigmoidAfter => g.sigmoid() * (-g).sigmoid(),
            _ => g.silu_slope(),
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
            for (i, (y, saved)) in y.chunks_mut(d).zip(saved).enumerate() {
                let row = piece * per + i;
                let g = self.gate_row(gate, row);
                self.gate(&mut m, &x[row * d..][..d], g);
                let (s, keep) = self.factor(dot(&m, &m) * inv_d);
                *saved = keep;
                for c in 0..d {
                    y[c] = m[c] * s * w[c];
                }
                if self.kind.is_after() {
                    for c in 0..d {
                        y[c] *= self.activation(g[c]);
                    }
                }
            }
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
            let rows = grad_x.chunks_mut(d).zip(grad_g.chunks_mut(dg_width));
            for (i, (grad_x, grad_g)) in rows.enumerate() {
                let row = piece * pieces.rows + i;
                let (x, grad_y) = (&x[row * d..][..d], &grad_y[row * d..][..d]);
                let g = self.gate_row(gate, row);
                let (s, per_root) = self.factors(saved[row]);
                self.gate(&mut m, x, g);
                for c in 0..d {
                    m[c] *= s;
                }
                if self.kind.is_after() {
                    for c in 0..d {
                        t[c] = grad_y[c] * self.activation(g[c]);
                        grad_g[c] = grad_y[c] * m[c] * w[c] * self.slope(g[c]);
                    }
                } else {
                    t.copy_from_slice(grad_y);
                }
                for c in 0..d {
                    grad_w[c] += t[c] * m[c];
                    t[c] *= w[c];
                }
                let along = dot(&t, &m) * inv_d * per_root;
                for c in 0..d {
                    grad_x[c] = s * t[c] - m[c] * along;
                }
                if self.kind == Kind::GateBefore {
                    for c in 0..d {
                        grad_g[c] = grad_x[c] * x[c] * g[c].silu_slope();
                        grad_x[c] *= g[c].silu();
                    }
                }
            }
        });
        if let Some(sum) = io.sum("w") {
            add_partials(sum, &grad_w);
        }
    }
}

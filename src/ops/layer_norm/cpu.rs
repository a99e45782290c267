use super::LayerNorm;
use crate::ops::reduce::{Pieces, add_partials, wanted_or};
use crate::ops::rows::{dot, sum};
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices, vectorize};
use rayon::prelude::*;

impl LayerNorm {
    /// A row's norm, and its saved statistics.
    #[inline(always)]
    fn norm_row<R: Real>(&self, x: &[R], [w, b]: [&[R]; 2], y: &mut [R], stats: &mut [R; 2]) {
        let inv_d = R::of(1.0 / self.d as f64);
        let x0 = x[0];
        y.iter_mut().zip(x).for_each(|(y, x)| *y = *x - x0);
        let offset = sum(y) * inv_d;
        y.iter_mut().for_each(|y| *y -= offset);
        let r = R::ONE / (dot(y, y) * inv_d + R::of(f64::from(self.eps))).sqrt();
        for (y, (w, b)) in y.iter_mut().zip(w.iter().zip(b)) {
            *y = *y * r * *w + *b;
        }
        *stats = [offset, r];
    }
}

impl CpuOp for LayerNorm {
    fn cpu_fwd<R: Real>(&self, step: &StepParams, mut io: Slices<'_, R>) {
        let w_b = [io.read("w"), io.read("b")];
        let (d, per) = (self.d, Pieces::new(self.rows).rows);
        let (y, stats) = (io.write("y"), io.write("stats"));
        let pieces = y.par_chunks_mut(per * d).zip(stats.par_chunks_mut(2 * per));
        let Some(dropout) = &self.sum else {
            let x = io.read("x");
            pieces.zip(x.par_chunks(per * d)).for_each(|((y, stats), x)| {
                vectorize(
                    #[inline(always)]
                    || {
                        let rows = y.chunks_exact_mut(d).zip(x.chunks_exact(d));
                        for ((y, x), stats) in rows.zip(stats.as_chunks_mut::<2>().0) {
                            self.norm_row(x, w_b, y, stats);
                        }
                    },
                );
            });
            return;
        };
        let (x, residual, z) = (io.write("x"), io.read("residual"), io.read("z"));
        let pieces = pieces.zip(x.par_chunks_mut(per * d)).enumerate();
        pieces.for_each(|(piece, ((y, stats), x))| {
            let rows = y.chunks_exact_mut(d).zip(x.chunks_exact_mut(d));
            for (i, ((y, x), stats)) in rows.zip(stats.as_chunks_mut::<2>().0).enumerate() {
                let row = piece * per + i;
                let from = row * d..(row + 1) * d;
                dropout.add_row(step, row, [&residual[from.clone()], &z[from]], x);
                vectorize(
                    #[inline(always)]
                    || self.norm_row(x, w_b, y, stats),
                );
            }
        });
    }

    fn cpu_bwd<R: Real>(&self, step: &StepParams, mut io: Slices<'_, R>) {
        let (x, w, grad_y) = (io.read("x"), io.read("w"), io.grad("y"));
        let (stats, _) = io.read("stats").as_chunks::<2>();
        let d = self.d;
        let inv_d = R::of(1.0 / d as f64);
        let pieces = Pieces::new(self.rows);
        let (mut grad_w, mut grad_b) = (pieces.partials(d), pieces.partials(d));
        let mut unread = Vec::new();
        let to = if self.sum.is_some() { "residual" } else { "x" };
        let grad_x = wanted_or(io.wanted(to), &mut unread, x.len());
        let mut of_z: Vec<Option<&mut [R]>> = match io.wanted("z") {
            Some((grad_z, _)) => grad_z.chunks_mut(pieces.rows * d).map(Some).collect(),
            None => Vec::new(),
        };
        of_z.resize_with(pieces.count, || None);
        let parts = grad_x.par_chunks_mut(pieces.rows * d).zip(of_z);
        let parts = parts.zip(grad_w.par_chunks_mut(d).zip(grad_b.par_chunks_mut(d)));
        parts
            .enumerate()
            .for_each(|(piece, ((grad_x, mut grad_z), (grad_w, grad_b)))| {
                let (mut xh, mut q) = (vec![R::ZERO; d], vec![R::ZERO; d]);
                vectorize(
                    #[inline(always)]
                    || {
                        for (i, grad_x) in grad_x.chunks_exact_mut(d).enumerate() {
                            let row = piece * pieces.rows + i;
                            let (x, grad_y) = (&x[row * d..][..d], &grad_y[row * d..][..d]);
                            let (x0, [offset, r]) = (x[0], stats[row]);
                            for (xh, x) in xh.iter_mut().zip(x) {
                                *xh = (*x - x0 - offset) * r;
                            }
                            for (q, (grad_y, w)) in q.iter_mut().zip(grad_y.iter().zip(w)) {
                                *q = *grad_y * *w;
                            }
                            for (grad_w, (grad_y, xh)) in grad_w.iter_mut().zip(grad_y.iter().zip(&xh)) {
                                *grad_w += *grad_y * *xh;
                            }
                            for (grad_b, grad_y) in grad_b.iter_mut().zip(grad_y) {
                                *grad_b += *grad_y;
                            }
                            let (mean, along) = (sum(&q) * inv_d, dot(&q, &xh) * inv_d);
                            for (grad_x, (q, xh)) in grad_x.iter_mut().zip(q.iter().zip(&xh)) {
                                *grad_x = r * (*q - mean - *xh * along);
                            }
                            if let (Some(dropout), Some(grad_z)) = (&self.sum, &mut grad_z) {
                                dropout.drop_row(step, row, grad_x, &mut grad_z[i * d..][..d]);
                            }
                        }
                    },
                );
            });
        if let Some(sum) = io.sum("w") {
            add_partials(sum, &grad_w);
        }
        if let Some(sum) = io.sum("b") {
            add_partials(sum, &grad_b);
        }
    }
}

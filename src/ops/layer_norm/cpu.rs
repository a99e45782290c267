use super::LayerNorm;
use crate::ops::reduce::{Pieces, add_partials, wanted_or};
use crate::ops::rows::{dot, sum};
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};
use rayon::prelude::*;

impl CpuOp for LayerNorm {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (x, w, b) = (io.read("x"), io.read("w"), io.read("b"));
        let (y, offset, r) = (io.write("y"), io.write("offset"), io.write("r"));
        let (d, per) = (self.d, Pieces::new(self.rows).rows);
        let (eps, inv_d) = (R::of(f64::from(self.eps)), R::of(1.0 / d as f64));
        let pieces = y.par_chunks_mut(per * d);
        let pieces = pieces.zip(offset.par_chunks_mut(per).zip(r.par_chunks_mut(per)));
        pieces
            .zip(x.par_chunks(per * d))
            .for_each(|((y, (offset, r)), x)| {
                for (i, (y, x)) in y.chunks_mut(d).zip(x.chunks(d)).enumerate() {
                    for c in 0..d {
                        y[c] = x[c] - x[0];
                    }
                    offset[i] = sum(y) * inv_d;
                    for c in 0..d {
                        y[c] -= offset[i];
                    }
                    r[i] = R::ONE / (dot(y, y) * inv_d + eps).sqrt();
                    for c in 0..d {
                        y[c] = y[c] * r[i] * w[c] + b[c];
                    }
                }
            });
    }

    fn cpu_bwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (x, w, grad_y) = (io.read("x"), io.read("w"), io.grad("y"));
        let (offset, r) = (io.read("offset"), io.read("r"));
        let d = self.d;
        let inv_d = R::of(1.0 / d as f64);
        let pieces = Pieces::new(self.rows);
        let (mut grad_w, mut grad_b) = (pieces.partials(d), pieces.partials(d));
        let mut unread = Vec::new();
        let parts = wanted_or(io.wanted("x"), &mut unread, x.len()).par_chunks_mut(pieces.rows * d);
        let parts = parts.zip(grad_w.par_chunks_mut(d).zip(grad_b.par_chunks_mut(d)));
        parts.enumerate().for_each(|(piece, (grad_x, (grad_w, grad_b)))| {
            let (mut xh, mut q) = (vec![R::ZERO; d], vec![R::ZERO; d]);
            for (i, grad_x) in grad_x.chunks_mut(d).enumerate() {
                let row = piece * pieces.rows + i;
                let (x, grad_y) = (&x[row * d..][..d], &grad_y[row * d..][..d]);
                for c in 0..d {
                    xh[c] = (x[c] - x[0] - offset[row]) * r[row];
                    q[c] = grad_y[c] * w[c];
                    grad_w[c] += grad_y[c] * xh[c];
                    grad_b[c] += grad_y[c];
                }
                let (mean, along) = (sum(&q) * inv_d, dot(&q, &xh) * inv_d);
                for c in 0..d {
                    grad_x[c] = r[row] * (q[c] - mean - xh[c] * along);
                }
            }
        });
        if let Some(sum) = io.sum("w") {
            add_partials(sum, &grad_w);
        }
        if let Some(sum) = io.sum("b") {
            add_partials(sum, &grad_b);
        }
    }
}

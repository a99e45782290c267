use super::LayerNorm;
use crate::ops::reduce::{Pieces, add_partials, wanted_or};
use crate::ops::rows::{dot, sum};
use crate::step::StepParams;
use crate::twin::CpuOp;
use crate::twin::{In, Out, Real};
use rayon::prelude::*;

impl CpuOp for LayerNorm {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, ins: &[In<'_, R>], outs: &mut [Out<'_, R>]) {
        let (x, w, b) = (ins[0].real(), ins[1].real(), ins[2].real());
        let [y, offset, r] = outs else {
            unreachable!("three outputs")
        };
        let (d, per) = (self.d, Pieces::new(self.rows).rows);
        let (eps, inv_d) = (R::of(f64::from(self.eps)), R::of(1.0 / d as f64));
        let pieces = y.real().par_chunks_mut(per * d);
        let pieces = pieces.zip(
            offset
                .real()
                .par_chunks_mut(per)
                .zip(r.real().par_chunks_mut(per)),
        );
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

    fn cpu_bwd<R: Real>(
        &self,
        _step: &StepParams,
        ins: &[In<'_, R>],
        outs: &[In<'_, R>],
        d_outs: &[In<'_, R>],
        d_ins: &mut [Out<'_, R>],
    ) {
        let (x, w, dy) = (ins[0].real(), ins[1].real(), d_outs[0].real());
        let (offset, r) = (outs[1].real(), outs[2].real());
        let [dx, dw_out, db_out] = d_ins else {
            unreachable!("three inputs")
        };
        let d = self.d;
        let inv_d = R::of(1.0 / d as f64);
        let pieces = Pieces::new(self.rows);
        let (mut dw, mut db) = (pieces.partials(d), pieces.partials(d));
        let mut unread = Vec::new();
        let parts = wanted_or(dx, &mut unread, x.len()).par_chunks_mut(pieces.rows * d);
        let parts = parts.zip(dw.par_chunks_mut(d).zip(db.par_chunks_mut(d)));
        parts.enumerate().for_each(|(piece, (dx, (dw, db)))| {
            let (mut xh, mut q) = (vec![R::ZERO; d], vec![R::ZERO; d]);
            for (i, dx) in dx.chunks_mut(d).enumerate() {
                let row = piece * pieces.rows + i;
                let (x, dy) = (&x[row * d..][..d], &dy[row * d..][..d]);
                for c in 0..d {
                    xh[c] = (x[c] - x[0] - offset[row]) * r[row];
                    q[c] = dy[c] * w[c];
                    dw[c] += dy[c] * xh[c];
                    db[c] += dy[c];
                }
                let (mean, along) = (sum(&q) * inv_d, dot(&q, &xh) * inv_d);
                for c in 0..d {
                    dx[c] = r[row] * (q[c] - mean - xh[c] * along);
                }
            }
        });
        if let Some(sum) = dw_out.sum() {
            add_partials(sum, &dw);
        }
        if let Some(sum) = db_out.sum() {
            add_partials(sum, &db);
        }
    }
}

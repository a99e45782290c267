use super::SwiGlu;
use crate::ops::reduce::{Pieces, add_partials, wanted_or};
use crate::ops::rows::sum;
use crate::step::StepParams;
use crate::twin::CpuOp;
use crate::twin::{In, Out, Real};
use rayon::prelude::*;

impl CpuOp for SwiGlu {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, ins: &[In<'_, R>], outs: &mut [Out<'_, R>]) {
        let (x, beta) = (ins[0].real(), ins[1].real()[0]);
        let (d, per) = (self.d, Pieces::new(self.rows).rows);
        let pieces = outs[0].real().par_chunks_mut(per * d);
        pieces.zip(x.par_chunks(per * 2 * d)).for_each(|(y, x)| {
            for (y, x) in y.chunks_mut(d).zip(x.chunks(2 * d)) {
                let (a, b) = x.split_at(d);
                for c in 0..d {
                    y[c] = a[c] * (beta * a[c]).sigmoid() * b[c];
                }
            }
        });
    }

    fn cpu_bwd<R: Real>(
        &self,
        _step: &StepParams,
        ins: &[In<'_, R>],
        _outs: &[In<'_, R>],
        d_outs: &[In<'_, R>],
        d_ins: &mut [Out<'_, R>],
    ) {
        let (x, beta, dy) = (ins[0].real(), ins[1].real()[0], d_outs[0].real());
        let [dx, dbeta_out] = d_ins else {
            unreachable!("two inputs")
        };
        let d = self.d;
        let pieces = Pieces::new(self.rows);
        let mut dbeta = pieces.partials(1);
        let mut unread = Vec::new();
        let parts = wanted_or(dx, &mut unread, x.len()).par_chunks_mut(pieces.rows * 2 * d);
        parts
            .zip(&mut dbeta)
            .enumerate()
            .for_each(|(piece, (dx, dbeta))| {
                let mut terms = vec![R::ZERO; d];
                for (i, dx) in dx.chunks_mut(2 * d).enumerate() {
                    let row = piece * pieces.rows + i;
                    let (a, b) = x[row * 2 * d..][..2 * d].split_at(d);
                    let (da, db) = dx.split_at_mut(d);
                    let dy = &dy[row * d..][..d];
                    for c in 0..d {
                        let z = beta * a[c];
                        let e = (-z.abs()).exp();
                        let inv = R::ONE / (R::ONE + e);
                        let sg = if z >= R::ZERO { inv } else { e * inv };
                        let d_sg = e * inv * inv;
                        da[c] = dy[c] * b[c] * (sg + z * d_sg);
                        db[c] = dy[c] * a[c] * sg;
                        terms[c] = dy[c] * b[c] * a[c] * (a[c] * d_sg);
                    }
                    *dbeta += sum(&terms);
                }
            });
        if let Some(sum) = dbeta_out.sum() {
            add_partials(sum, &dbeta);
        }
    }
}

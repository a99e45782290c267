//! The twin, as functions that the head uses chunk by chunk. Products use all threads.

use super::Linear;
use crate::step::StepParams;
use crate::twin::CpuOp;
use crate::twin::matmul::{Mat, Threads, matmul};
use crate::twin::{In, Out, Real};
use rayon::prelude::*;

/// Rows whose columns are summed in one piece; fixed, so that sums do not depend on the number of threads.
const SUM_ROWS: usize = 256;

fn keep<R: Real>(accumulate: bool) -> R {
    if accumulate { R::ONE } else { R::ZERO }
}

/// y = x W^T + b.
pub(crate) fn fwd<R: Real>(op: &Linear, x: &[R], w: &[R], b: Option<&[R]>, y: &mut [R]) {
    if let Some(b) = b {
        y.par_chunks_exact_mut(op.out)
            .for_each(|row| row.copy_from_slice(b));
    }
    let (x, w) = (Mat::rows(x, op.inp), Mat::rows(w, op.inp).t());
    let shape = (op.rows, op.out, op.inp);
    matmul(shape, x, w, y, op.out, keep(b.is_some()), R::ONE, Threads::All);
}

/// dx (+)= dy W.
pub(crate) fn dx<R: Real>(op: &Linear, dy: &[R], w: &[R], dx: &mut [R], accumulate: bool) {
    let (dy, w) = (Mat::rows(dy, op.out), Mat::rows(w, op.inp));
    let shape = (op.rows, op.inp, op.out);
    matmul(shape, dy, w, dx, op.inp, keep(accumulate), R::ONE, Threads::All);
}

/// dW (+)= dy^T x.
pub(crate) fn dw<R: Real>(op: &Linear, dy: &[R], x: &[R], dw: &mut [R], accumulate: bool) {
    let (dy, x) = (Mat::rows(dy, op.out).t(), Mat::rows(x, op.inp));
    let shape = (op.out, op.inp, op.rows);
    matmul(shape, dy, x, dw, op.inp, keep(accumulate), R::ONE, Threads::All);
}

/// db (+)= column sums of dy.
pub(crate) fn db<R: Real>(op: &Linear, dy: &[R], db: &mut [R], accumulate: bool) {
    let add = |sum: &mut [R], row: &[R]| {
        for (s, d) in sum.iter_mut().zip(row) {
            *s += *d;
        }
    };
    let pieces: Vec<Vec<R>> = dy
        .par_chunks(SUM_ROWS * op.out)
        .map(|piece| {
            let mut sum = vec![R::ZERO; op.out];
            piece.chunks_exact(op.out).for_each(|row| add(&mut sum, row));
            sum
        })
        .collect();
    if !accumulate {
        db.fill(R::ZERO);
    }
    pieces.iter().for_each(|piece| add(db, piece));
}

impl CpuOp for Linear {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, ins: &[In<'_, R>], outs: &mut [Out<'_, R>]) {
        let b = self.bias.then(|| ins[2].real());
        fwd(self, ins[0].real(), ins[1].real(), b, outs[0].real());
    }

    fn cpu_bwd<R: Real>(
        &self,
        _step: &StepParams,
        ins: &[In<'_, R>],
        _outs: &[In<'_, R>],
        d_outs: &[In<'_, R>],
        d_ins: &mut [Out<'_, R>],
    ) {
        let dy = d_outs[0].real();
        if let Some((d, accumulate)) = d_ins[0].wanted() {
            dx(self, dy, ins[1].real(), d, accumulate);
        }
        if let Some((d, accumulate)) = d_ins[1].wanted() {
            dw(self, dy, ins[0].real(), d, accumulate);
        }
        if let Some((d, accumulate)) = d_ins.get_mut(2).and_then(Out::wanted) {
            db(self, dy, d, accumulate);
        }
    }
}

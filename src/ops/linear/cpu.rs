//! The twin, as functions that the head uses chunk by chunk. Products use all threads.

use super::Linear;
use crate::step::StepParams;
use crate::twin::matmul::{Mat, Threads, matmul};
use crate::twin::{CpuOp, Real, Slices};
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
pub(crate) fn grad_x<R: Real>(op: &Linear, grad_y: &[R], w: &[R], grad_x: &mut [R], accumulate: bool) {
    let (grad_y, w) = (Mat::rows(grad_y, op.out), Mat::rows(w, op.inp));
    let shape = (op.rows, op.inp, op.out);
    matmul(
        shape,
        grad_y,
        w,
        grad_x,
        op.inp,
        keep(accumulate),
        R::ONE,
        Threads::All,
    );
}

/// dW (+)= dy^T x.
pub(crate) fn grad_w<R: Real>(op: &Linear, grad_y: &[R], x: &[R], grad_w: &mut [R], accumulate: bool) {
    let (grad_y, x) = (Mat::rows(grad_y, op.out).t(), Mat::rows(x, op.inp));
    let shape = (op.out, op.inp, op.rows);
    matmul(
        shape,
        grad_y,
        x,
        grad_w,
        op.inp,
        keep(accumulate),
        R::ONE,
        Threads::All,
    );
}

/// db (+)= column sums of dy.
pub(crate) fn grad_b<R: Real>(op: &Linear, grad_y: &[R], grad_b: &mut [R], accumulate: bool) {
    let add = |sum: &mut [R], row: &[R]| {
        for (s, d) in sum.iter_mut().zip(row) {
            *s += *d;
        }
    };
    let pieces: Vec<Vec<R>> = grad_y
        .par_chunks(SUM_ROWS * op.out)
        .map(|piece| {
            let mut sum = vec![R::ZERO; op.out];
            piece.chunks_exact(op.out).for_each(|row| add(&mut sum, row));
            sum
        })
        .collect();
    if !accumulate {
        grad_b.fill(R::ZERO);
    }
    pieces.iter().for_each(|piece| add(grad_b, piece));
}

impl CpuOp for Linear {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let b = io.read_if("b");
        fwd(self, io.read("x"), io.read("w"), b, io.write("y"));
    }

    fn cpu_bwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let grad_y = io.grad("y");
        if let Some((d, accumulate)) = io.wanted("x") {
            grad_x(self, grad_y, io.read("w"), d, accumulate);
        }
        if let Some((d, accumulate)) = io.wanted("w") {
            grad_w(self, grad_y, io.read("x"), d, accumulate);
        }
        if let Some((d, accumulate)) = io.wanted("b") {
            grad_b(self, grad_y, d, accumulate);
        }
    }
}

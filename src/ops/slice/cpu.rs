use super::Slice;
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};
use rayon::prelude::*;

/// Rows of a piece of work.
const ROWS: usize = 256;

impl CpuOp for Slice {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let y = io.write("y").par_chunks_mut(ROWS * self.len);
        let pieces = y.zip(io.read("x").par_chunks(ROWS * self.width));
        pieces.for_each(|(y, x)| {
            for (y, x) in y.chunks_mut(self.len).zip(x.chunks(self.width)) {
                y.copy_from_slice(&x[self.from..][..self.len]);
            }
        });
    }

    fn cpu_bwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let Some((grad_x, accumulate)) = io.wanted("x") else {
            return;
        };
        let grad_x = grad_x.par_chunks_mut(ROWS * self.width);
        let pieces = grad_x.zip(io.grad("y").par_chunks(ROWS * self.len));
        pieces.for_each(|(grad_x, grad_y)| {
            for (grad_x, grad_y) in grad_x.chunks_mut(self.width).zip(grad_y.chunks(self.len)) {
                if !accumulate {
                    grad_x.fill(R::ZERO);
                }
                for (grad_x, grad_y) in grad_x[self.from..][..self.len].iter_mut().zip(grad_y) {
                    *grad_x += *grad_y;
                }
            }
        });
    }
}

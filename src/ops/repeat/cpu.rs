use super::Repeat;
use crate::ops::reduce::{Pieces, add_partials};
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};
use rayon::prelude::*;

impl CpuOp for Repeat {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let x = io.read("x");
        let rows = io.write("y").par_chunks_mut(self.d);
        rows.for_each(|y| y.copy_from_slice(x));
    }

    fn cpu_bwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (d, pieces) = (self.d, Pieces::new(self.rows));
        let mut partials = pieces.partials(d);
        let read = io.grad("y").par_chunks(pieces.rows * d);
        partials.par_chunks_mut(d).zip(read).for_each(|(sum, grad_y)| {
            for grad_y in grad_y.chunks(d) {
                sum.iter_mut()
                    .zip(grad_y)
                    .for_each(|(sum, grad_y)| *sum += *grad_y);
            }
        });
        if let Some(sum) = io.sum("x") {
            add_partials(sum, &partials);
        }
    }
}

use super::Repeat;
use crate::ops::reduce::{Pieces, add_partials};
use crate::step::StepParams;
use crate::twin::CpuOp;
use crate::twin::{In, Out, Real};
use rayon::prelude::*;

impl CpuOp for Repeat {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, ins: &[In<'_, R>], outs: &mut [Out<'_, R>]) {
        let x = ins[0].real();
        let rows = outs[0].real().par_chunks_mut(self.d);
        rows.for_each(|y| y.copy_from_slice(x));
    }

    fn cpu_bwd<R: Real>(
        &self,
        _step: &StepParams,
        _ins: &[In<'_, R>],
        _outs: &[In<'_, R>],
        grad_outs: &[In<'_, R>],
        grad_ins: &mut [Out<'_, R>],
    ) {
        let (d, pieces) = (self.d, Pieces::new(self.rows));
        let mut partials = pieces.partials(d);
        let read = grad_outs[0].real().par_chunks(pieces.rows * d);
        partials.par_chunks_mut(d).zip(read).for_each(|(sum, grad_y)| {
            for grad_y in grad_y.chunks(d) {
                sum.iter_mut()
                    .zip(grad_y)
                    .for_each(|(sum, grad_y)| *sum += *grad_y);
            }
        });
        if let Some(sum) = grad_ins[0].sum() {
            add_partials(sum, &partials);
        }
    }
}

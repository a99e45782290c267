use super::{Part, Spread};
use crate::step::StepParams;
use crate::twin::{CpuOp, In, Out, Real};

impl CpuOp for Spread {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, ins: &[In<'_, R>], outs: &mut [Out<'_, R>]) {
        let y = outs[0].int();
        y.fill(u32::MAX);
        let samples = ins[0].int().chunks_exact(2 * self.e);
        let values = ins[1].int().chunks_exact(self.e);
        for ((row, windows), values) in y.chunks_exact_mut(self.t).zip(samples).zip(values) {
            for (window, &value) in windows.chunks_exact(2).zip(values) {
                let len = match self.part {
                    Part::Whole => window[1] as usize,
                    Part::First => 1.min(window[1] as usize),
                };
                let first = (window[0] as usize).min(self.t);
                let end = first.saturating_add(len).min(self.t);
                row[first..end].fill(value);
            }
        }
    }

    fn cpu_bwd<R: Real>(
        &self,
        _step: &StepParams,
        _ins: &[In<'_, R>],
        _outs: &[In<'_, R>],
        _grad_outs: &[In<'_, R>],
        _grad_ins: &mut [Out<'_, R>],
    ) {
        unreachable!("integers have no gradient");
    }
}

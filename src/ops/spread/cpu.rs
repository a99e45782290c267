use super::{Part, Spread};
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};

impl CpuOp for Spread {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let y = io.write_int("y");
        y.fill(u32::MAX);
        let samples = io.int("windows").chunks_exact(2 * self.e);
        let values = io.int("v").chunks_exact(self.e);
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
}

use super::S4dStep;
use crate::cpu::{In, Out, Real};
use crate::ops::CpuOp;
use crate::ops::s4d_scan::cpu::{Factor, Inputs};
use crate::step::StepParams;
use rayon::prelude::*;

/// Channels that a thread takes at least.
const PART: usize = 16;

/// 2 Re(Ct . h) of one channel, after a step: h \[N / 2, 2\].
fn channel<R: Real>(factors: &[Factor<R>], u: R, h: &mut [R]) -> R {
    let mut sum = R::ZERO;
    for (h, Factor { f, keep, ct, .. }) in h.chunks_exact_mut(2).zip(factors) {
        let dr = f[0] * h[0] - f[1] * h[1] + u;
        let di = f[0] * h[1] + f[1] * h[0];
        h[0] = *keep * h[0] + dr;
        h[1] = *keep * h[1] + di;
        sum += ct[0] * h[0] - ct[1] * h[1];
    }
    sum
}

impl CpuOp for S4dStep {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, ins: &[In<'_, R>], outs: &mut [Out<'_, R>]) {
        let inputs = Inputs::new(ins);
        let [y, state] = outs else {
            unreachable!("the ports say two outputs")
        };
        let (d, n) = (self.channels, self.states);
        let factors: Vec<Factor<R>> = (0..d * n)
            .into_par_iter()
            .with_min_len(PART)
            .map(|at| inputs.factor(at / n, at))
            .collect();
        let channels = y.real().par_iter_mut().zip(state.real().par_chunks_mut(2 * n));
        channels
            .enumerate()
            .with_min_len(PART)
            .for_each(|(row, (y, h))| {
                let (c, u) = (row % d, inputs.u[row]);
                *y = inputs.skip[c] * u + channel(&factors[c * n..][..n], u, h);
            });
    }

    fn cpu_bwd<R: Real>(
        &self,
        _step: &StepParams,
        _ins: &[In<'_, R>],
        _outs: &[In<'_, R>],
        _d_outs: &[In<'_, R>],
        _d_ins: &mut [Out<'_, R>],
    ) {
        unreachable!("no input has a gradient");
    }
}

use super::S4dStep;
use crate::ops::s4d_scan::cpu::{DRIFT, Factor, Inputs};
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};
use rayon::prelude::*;

/// Channels that a thread takes at least.
const PART: usize = 16;

/// y of one channel: 2 Re(Ct . h) and the skip connection, after a step of h \[N / 2, 2\].
fn channel<R: Real>(factors: &[Factor<R>], skip: R, u: R, h: &mut [R]) -> R {
    let mut sum = skip * u;
    for (h, Factor { f, keep, ct, .. }) in h.chunks_exact_mut(2).zip(factors) {
        let dr = f[0] * h[0] - f[1] * h[1] + u;
        let di = f[0] * h[1] + f[1] * h[0];
        h[0] = *keep * h[0] + dr;
        h[1] = *keep * h[1] + di;
        sum += ct[0] * h[0] - ct[1] * h[1];
    }
    sum
}

/// What rounding f took from the states of a channel in the last [`DRIFT`] steps.
fn give_back<R: Real>(factors: &[Factor<R>], h: &mut [R]) {
    for (h, Factor { drift, .. }) in h.chunks_exact_mut(2).zip(factors) {
        let more = drift[0] * h[0] - drift[1] * h[1];
        h[1] += drift[0] * h[1] + drift[1] * h[0];
        h[0] += more;
    }
}

impl CpuOp for S4dStep {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let inputs = Inputs::new(&io);
        let (y, state) = (io.write("y"), io.write("state"));
        let (d, n) = (self.channels, self.states);
        let token = io.int("position")[0] as usize;
        let factors: Vec<Factor<R>> = (0..d * n)
            .into_par_iter()
            .with_min_len(PART)
            .map(|at| inputs.factor(at / n, at))
            .collect();
        let channels = y.par_iter_mut().zip(state.par_chunks_mut(2 * n));
        channels.enumerate().with_min_len(PART).for_each(|(row, (y, h))| {
            let c = row % d;
            let factors = &factors[c * n..][..n];
            *y = channel(factors, inputs.skip[c], inputs.u[row], h);
            if token % DRIFT == DRIFT - 1 {
                give_back(factors, h);
            }
        });
    }
}

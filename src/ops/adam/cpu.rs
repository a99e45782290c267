use super::{Adam, BETA1, BETA2, EPS};
use crate::step::StepParams;
use crate::twin::CpuOp;
use crate::twin::{In, Out, Real};
use rayon::prelude::*;

/// Elements that one thread takes at a time.
const PART: usize = 16_384;

impl CpuOp for Adam {
    fn cpu_fwd<R: Real>(&self, step: &StepParams, ins: &[In<'_, R>], outs: &mut [Out<'_, R>]) {
        let [p, m, v] = outs else {
            unreachable!("three output ports")
        };
        let stats = ins[1].real();
        if stats[2] != R::ZERO {
            return;
        }
        let of = |x: f32| R::of(f64::from(x));
        let (b1, b2, eps, factor) = (R::of(BETA1), R::of(BETA2), R::of(EPS), stats[1]);
        let (a1, a2) = (R::of(1.0 - BETA1), R::of(1.0 - BETA2));
        let (step_size, inv_root) = (of(step.step_size), of(step.inv_sqrt_bias2));
        p.real()
            .par_chunks_mut(PART)
            .zip(m.real().par_chunks_mut(PART).zip(v.real().par_chunks_mut(PART)))
            .zip(ins[0].real().par_chunks(PART))
            .for_each(|((p, (m, v)), g)| {
                for i in 0..g.len() {
                    let g = g[i] * factor;
                    m[i] = b1 * m[i] + a1 * g;
                    v[i] = b2 * v[i] + a2 * g * g;
                    p[i] -= step_size * m[i] / (v[i].sqrt() * inv_root + eps);
                }
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
        unreachable!("the optimiser has no gradient");
    }
}

use super::{Adam, BETA1, BETA2, EPS};
use crate::ops::grad_norm::{FACTOR, HALTED, SKIPPED};
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};
use rayon::prelude::*;

/// Elements that one thread takes at a time.
const PART: usize = 16_384;

impl CpuOp for Adam {
    fn cpu_fwd<R: Real>(&self, step: &StepParams, mut io: Slices<'_, R>) {
        let (p, m, v) = (io.write("p"), io.write("m"), io.write("v"));
        let stats = io.read("stats");
        if stats[HALTED] + stats[SKIPPED] != R::ZERO {
            return;
        }
        let of = |x: f32| R::of(f64::from(x));
        let (b1, b2, eps, factor) = (R::of(BETA1), R::of(BETA2), R::of(EPS), stats[FACTOR]);
        let (a1, a2) = (R::of(1.0 - BETA1), R::of(1.0 - BETA2));
        let (step_size, inv_root) = (of(step.step_size), of(step.inv_sqrt_bias2));
        p.par_chunks_mut(PART)
            .zip(m.par_chunks_mut(PART).zip(v.par_chunks_mut(PART)))
            .zip(io.read("g").par_chunks(PART))
            .for_each(|((p, (m, v)), g)| {
                for i in 0..g.len() {
                    let g = g[i] * factor;
                    m[i] = b1 * m[i] + a1 * g;
                    v[i] = b2 * v[i] + a2 * g * g;
                    p[i] -= step_size * m[i] / (v[i].sqrt() * inv_root + eps);
                }
            });
    }
}

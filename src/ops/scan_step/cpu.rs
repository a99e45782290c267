use super::ScanStep;
use crate::ops::chunks::exps;
use crate::ops::rows::dot;
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};
use rayon::prelude::*;

/// Channels that a thread takes at least.
const PART: usize = 16;

/// The inputs; those that are not there are empty.
struct Inputs<'a, R> {
    u: &'a [R],
    delta_raw: &'a [R],
    z: &'a [R],
    bm: &'a [R],
    cm: &'a [R],
    delta_bias: &'a [R],
    skip: &'a [R],
    /// A = -exp(`A_log`).
    a: Vec<R>,
}

impl<'a, R: Real> Inputs<'a, R> {
    fn new(io: &Slices<'a, R>) -> Self {
        let or_none = |name| io.read_if(name).unwrap_or_default();
        let mut a = or_none("A_log").to_vec();
        exps(&mut a);
        a.iter_mut().for_each(|a| *a = -*a);
        Self {
            u: io.read("u"),
            delta_raw: or_none("delta_raw"),
            z: or_none("z"),
            bm: io.read("Bm"),
            cm: io.read("Cm"),
            delta_bias: or_none("delta_bias"),
            skip: io.read("D"),
            a,
        }
    }
}

impl ScanStep {
    /// y of channel `at` = b E + e; `decay` \[N\] is work space.
    fn channel<R: Real>(&self, x: &Inputs<'_, R>, at: usize, h: &mut [R], decay: &mut [R]) -> R {
        let n = self.states;
        let (b, c) = (at / self.channels, at % self.channels);
        let (u, mut write) = (x.u[at], x.u[at]);
        if self.timed() {
            let dt = (x.delta_raw[at] + x.delta_bias[c]).softplus();
            if self.tied {
                write *= dt;
            }
            if self.decays {
                for (d, a) in decay.iter_mut().zip(&x.a[c * n..][..n]) {
                    *d = dt * *a;
                }
                exps(decay);
                h.iter_mut().zip(&*decay).for_each(|(h, d)| *h *= *d);
            }
        }
        for (h, b) in h.iter_mut().zip(&x.bm[b * n..][..n]) {
            *h += write * *b;
        }
        let y = dot(&x.cm[b * n..][..n], h) + x.skip[c] * u;
        if self.gated { y * x.z[at].silu() } else { y }
    }
}

impl CpuOp for ScanStep {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let x = Inputs::new(&io);
        let (y, state) = (io.write("y"), io.write("state"));
        let n = self.states;
        let channels = y.par_iter_mut().zip(state.par_chunks_mut(n));
        channels.enumerate().with_min_len(PART).for_each_init(
            || vec![R::ZERO; n],
            |decay, (at, (y, h))| *y = self.channel(&x, at, h, decay),
        );
    }
}

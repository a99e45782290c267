//! Launches: those of `linear`, but that outputs, input gradients and gradients of weights are one product each where they can be.

use super::Projections;
use crate::launch::{GpuOp, GpuOut, Lower, View, Views};
use crate::ops::linear::gpu::{VARIANTS, bwd_of_several, fwd_of_several, on_units};
use crate::port::Pass;
use crate::tensor::Dtype;
use crate::variant::Variant;

impl GpuOp for Projections {
    const VARIANTS: &'static [Variant] = VARIANTS;

    fn takes(&self, variant: &Variant, pass: Pass, io: &Views) -> bool {
        let half = io.read("x").dtype == Dtype::F16;
        !variant.needs.coop || self.layers().iter().any(|layer| on_units(layer, pass, half))
    }

    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let outs: Vec<GpuOut> = self.names().iter().map(|name| io.out(name)).collect();
        fwd_of_several(l, &self.layers(), io.read("x"), io.read("w"), &outs);
    }

    fn gpu_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        let grads: Vec<View> = self.names().iter().map(|name| io.grad(name)).collect();
        let operands = [io.read("x"), io.read("w")];
        let wanted = [io.wanted("x"), io.wanted("w")];
        bwd_of_several(l, &self.layers(), operands, &grads, wanted);
    }
}

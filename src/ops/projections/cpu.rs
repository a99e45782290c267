use super::Projections;
use crate::ops::linear::cpu::{fwd, grad_w, grad_x};
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};

impl CpuOp for Projections {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (x, mut w) = (io.read("x"), io.read("w"));
        for (layer, name) in self.layers().iter().zip(self.names()) {
            let (own, rest) = w.split_at(layer.out * layer.inp);
            fwd(layer, x, own, None, io.write(name));
            w = rest;
        }
    }

    fn cpu_bwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (x, w) = (io.read("x"), io.read("w"));
        let layers = self.layers();
        if let Some((sum, mut accumulate)) = io.wanted("x") {
            let mut w = w;
            for (layer, name) in layers.iter().zip(self.names()) {
                let (own, rest) = w.split_at(layer.out * layer.inp);
                grad_x(layer, io.grad(name), own, sum, accumulate);
                (w, accumulate) = (rest, true);
            }
        }
        if let Some((mut all, accumulate)) = io.wanted("w") {
            for (layer, name) in layers.iter().zip(self.names()) {
                let (own, rest) = all.split_at_mut(layer.out * layer.inp);
                grad_w(layer, io.grad(name), x, own, accumulate);
                all = rest;
            }
        }
    }
}

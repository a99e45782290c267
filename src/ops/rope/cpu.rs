use super::Rope;
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};
use rayon::prelude::*;

impl CpuOp for Rope {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        self.rotate(self.direction, self.first(&io), io.read("x"), io.write("y"));
    }

    fn cpu_bwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        if let Some((grad_x, _)) = io.wanted("x") {
            self.rotate(-self.direction, self.first(&io), io.grad("y"), grad_x);
        }
    }
}

impl Rope {
    /// Position of the first time step.
    fn first<R: Real>(&self, io: &Slices<'_, R>) -> u32 {
        if self.position { io.int("position")[0] } else { 0 }
    }

    /// Rotates every row of `x` into `y`; one time step's sines serve all samples and heads.
    fn rotate<R: Real>(&self, direction: i32, first: u32, x: &[R], y: &mut [R]) {
        let (half, step) = (self.d / 2, self.h * self.d);
        let table = self.table::<R>(direction, first);
        y.par_chunks_mut(step)
            .zip(x.par_chunks(step))
            .enumerate()
            .for_each(|(bt, (y, x))| {
                let t = bt % self.t;
                let (cos, sin) = table[t * self.d..][..self.d].split_at(half);
                for (y, x) in y.chunks_mut(self.d).zip(x.chunks(self.d)) {
                    let (y_lo, y_hi) = y.split_at_mut(half);
                    let (x_lo, x_hi) = x.split_at(half);
                    for i in 0..half {
                        y_lo[i] = x_lo[i] * cos[i] - x_hi[i] * sin[i];
                        y_hi[i] = x_hi[i] * cos[i] + x_lo[i] * sin[i];
                    }
                }
            });
    }

    /// For each time step D/2 cosines and D/2 sines, these with the sign of the direction; angles in f64.
    fn table<R: Real>(&self, direction: i32, first: u32) -> Vec<R> {
        let half = self.d / 2;
        let frequencies: Vec<f64> = (0..half).map(|i| self.frequency(i)).collect();
        let mut table = vec![R::ZERO; self.t * self.d];
        table.par_chunks_mut(self.d).enumerate().for_each(|(t, row)| {
            let (cos, sin) = row.split_at_mut(half);
            for i in 0..half {
                let (s, c) = ((f64::from(first) + t as f64) * frequencies[i]).sin_cos();
                cos[i] = R::of(c);
                sin[i] = R::of(s * f64::from(direction));
            }
        });
        table
    }
}

use super::{Noise, OneHot};
use crate::philox;
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};
use rayon::prelude::*;

impl CpuOp for OneHot {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let u = io.write("u");
        u.fill(R::ZERO);
        for (row, &symbol) in u.chunks_exact_mut(self.vocab).zip(io.int("symbols")) {
            if let Some(u) = row.get_mut(symbol as usize) {
                *u = R::ONE;
            }
        }
        match self.noise {
            Noise::None => {}
            Noise::Philox { t, level } => {
                let level = R::of(f64::from(level));
                let samples = io.int("samples").par_chunks_exact(4);
                u.par_chunks_mut(t * self.vocab)
                    .zip(samples)
                    .for_each(|(u, sample)| {
                        let mut noise = vec![0.0; self.vocab];
                        let steps = u.chunks_exact_mut(self.vocab).take(sample[3] as usize);
                        for (step, row) in (0..).zip(steps) {
                            philox::noise([sample[0], sample[1], sample[2], step], &mut noise);
                            for (u, &n) in row.iter_mut().zip(&noise) {
                                *u += level * R::of(f64::from(n));
                            }
                        }
                    });
            }
            Noise::Given { level } => {
                let level = R::of(f64::from(level));
                for (u, &n) in u.iter_mut().zip(io.read("n")) {
                    *u += level * n;
                }
            }
        }
    }
}

use super::MesaStep;
use crate::ops::chunks::clamped;
use crate::ops::rows::dot;
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};
use rayon::prelude::*;

/// Vectors of the solver, one head at a time.
struct Solver<R> {
    solution: Vec<R>,
    residual: Vec<R>,
    direction: Vec<R>,
    image: Vec<R>,
}

impl<R: Real> Solver<R> {
    fn new(d: usize) -> Self {
        let zeros = || vec![R::ZERO; d];
        Self {
            solution: zeros(),
            residual: zeros(),
            direction: zeros(),
            image: zeros(),
        }
    }

    /// (M + diag(lambda)) x = q: x is left in `solution`.
    fn solve(&mut self, m: &[R], lambda: &[R], q: &[R]) {
        let d = q.len();
        self.solution.fill(R::ZERO);
        // Scaled, so that no square underflows.
        let size: R = q.iter().map(|x| x.abs()).sum();
        let scale = if size > R::ZERO { R::ONE / size } else { R::ZERO };
        for j in 0..d {
            self.residual[j] = scale * q[j];
            self.direction[j] = self.residual[j] / lambda[j];
        }
        let mut error = dot(&self.residual, &self.direction);
        let tolerance = R::EPSILON * R::of(0.125);
        let enough = tolerance * tolerance * error;
        for _ in 0..4 * d + 32 {
            // False for NaN, too.
            let goes_on = error > enough;
            if !goes_on {
                break;
            }
            for (j, row) in m.chunks(d).enumerate() {
                self.image[j] = dot(row, &self.direction) + lambda[j] * self.direction[j];
            }
            let length = error / dot(&self.direction, &self.image);
            for j in 0..d {
                self.solution[j] += length * self.direction[j];
                self.residual[j] += -length * self.image[j];
                self.image[j] = self.residual[j] / lambda[j];
            }
            let next = dot(&self.residual, &self.image);
            let keep = next / error;
            for j in 0..d {
                self.direction[j] = self.image[j] + keep * self.direction[j];
            }
            error = next;
        }
        self.solution.iter_mut().for_each(|x| *x *= size);
    }
}

/// `S <- a S + k w^T`.
fn write<R: Real>(state: &mut [R], a: R, k: impl Iterator<Item = R>, w: &[R]) {
    for (row, k) in state.chunks_mut(w.len()).zip(k) {
        for (s, w) in row.iter_mut().zip(w) {
            *s = a * *s + k * *w;
        }
    }
}

impl CpuOp for MesaStep {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let [q, k, v, g, beta, lambda] = ["q", "k", "v", "g", "beta", "lambda"].map(|name| io.read(name));
        let (o, m, n) = (io.write("o"), io.write("m"), io.write("n"));
        let d = self.d;
        let states = m.par_chunks_mut(d * d).zip(n.par_chunks_mut(d * d));
        o.par_chunks_mut(d).zip(states).enumerate().for_each_init(
            || Solver::new(d),
            |solver, (head, (o, (m, n)))| {
                let row = head * d..(head + 1) * d;
                let (key, a) = (&k[row.clone()], clamped(g[head]).exp());
                let written = || key.iter().map(|k| beta[head] * *k);
                write(m, a, written(), key);
                write(n, a, written(), &v[row.clone()]);
                solver.solve(m, &lambda[head % self.h * d..][..d], &q[row]);
                o.fill(R::ZERO);
                for (row, x) in n.chunks(d).zip(&solver.solution) {
                    for (o, n) in o.iter_mut().zip(row) {
                        *o += *x * *n;
                    }
                }
            },
        );
    }
}

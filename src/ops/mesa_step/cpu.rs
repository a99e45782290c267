use super::MesaStep;
use crate::ops::chunks::clamped;
use crate::ops::rows::dot;
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};
use rayon::prelude::*;

/// Vectors of the solver, one head at a time: in f64, since rounding grows with the condition number.
struct Solver {
    solution: Vec<f64>,
    residual: Vec<f64>,
    direction: Vec<f64>,
    image: Vec<f64>,
}

impl Solver {
    fn new(d: usize) -> Self {
        let zeros = || vec![0.0; d];
        Self {
            solution: zeros(),
            residual: zeros(),
            direction: zeros(),
            image: zeros(),
        }
    }

    /// (M + diag(lambda)) x = q, as exact as R is: x is left in `solution`.
    fn solve<R: Real>(&mut self, m: &[R], lambda: &[R], q: &[R]) {
        let d = q.len();
        self.solution.fill(0.0);
        // Scaled, so that no square underflows.
        let size: f64 = q.iter().map(|x| x.f64().abs()).sum();
        let scale = if size > 0.0 { 1.0 / size } else { 0.0 };
        for j in 0..d {
            self.residual[j] = scale * q[j].f64();
            self.direction[j] = self.residual[j] / lambda[j].f64();
        }
        let mut error = dot(&self.residual, &self.direction);
        let tolerance = R::EPSILON.f64() * 0.125;
        let enough = tolerance * tolerance * error;
        for _ in 0..4 * d + 32 {
            // False for NaN, too.
            let goes_on = error > enough;
            if !goes_on {
                break;
            }
            for (j, row) in m.chunks(d).enumerate() {
                self.image[j] = dot_wide(row, &self.direction) + lambda[j].f64() * self.direction[j];
            }
            let length = error / dot(&self.direction, &self.image);
            for j in 0..d {
                self.solution[j] += length * self.direction[j];
                self.residual[j] -= length * self.image[j];
                self.image[j] = self.residual[j] / lambda[j].f64();
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

/// Sum of products. Eight running sums, so that the loop vectorises.
fn dot_wide<R: Real>(row: &[R], x: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    for (row, x) in row.chunks(8).zip(x.chunks(8)) {
        for ((sum, row), x) in sums.iter_mut().zip(row).zip(x) {
            *sum += row.f64() * x;
        }
    }
    sums.iter().sum()
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
                    let x = R::of(*x);
                    for (o, n) in o.iter_mut().zip(row) {
                        *o += x * *n;
                    }
                }
            },
        );
    }
}

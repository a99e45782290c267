//! The layer as it is defined, token by token, and its adjoint: what twin and kernels are held against.

use super::Mesa;
use crate::ops::chunks::matrix::{Matrix, dot, times};
use crate::ops::chunks::tests::Oracle;

/// One head in f64. `x` are the inputs in port order.
pub(super) struct Head<'a> {
    pub(super) op: &'a Mesa,
    pub(super) x: &'a [Vec<f64>],
    pub(super) b: usize,
    pub(super) h: usize,
}

impl Head<'_> {
    /// `M <- a_t M + beta_t k_t k_t^T`, `N <- a_t N + beta_t k_t v_t^T`, `x_t = (M + diag(lambda))^-1 q_t`, `o_t = N^T x_t`.
    /// Returns M and N before and after each token, and the solutions.
    fn forward(&self, o: &mut [f64]) -> (Vec<[Matrix; 2]>, Vec<Vec<f64>>) {
        let d = self.op.d;
        let (mut states, mut solutions) = (vec![[Matrix::zeros(d, d), Matrix::zeros(d, d)]], Vec::new());
        for t in 0..self.op.t {
            let [mut m, mut n] = states[t].clone();
            let (q, k, v) = (self.row(0, t), self.row(1, t), self.row(2, t));
            let written = times(self.beta(t), k);
            m.scale(&self.decay(t));
            n.scale(&self.decay(t));
            m.add(&written, k);
            n.add(&written, v);
            let x = self.solve(&m, q);
            self.put(o, t, &n.read(&x));
            states.push([m, n]);
            solutions.push(x);
        }
        (states, solutions)
    }

    /// Output and gradients, from the gradient of the output.
    pub(super) fn run(&self, all: &mut Oracle, grad_o: &[f64]) {
        let (states, solutions) = self.forward(&mut all.o);
        let (d, lambda) = (self.op.d, self.h * self.op.d);
        let [mut grad_m, mut grad_n] = [(); 2].map(|()| Matrix::zeros(d, d));
        for t in (0..self.op.t).rev() {
            let ([m, n], [m_before, n_before], x) = (&states[t + 1], &states[t], &solutions[t]);
            let (row, k, beta) = (self.at(t), self.row(1, t), self.beta(t));
            let grad_o = &grad_o[row * d..(row + 1) * d];
            let y = self.solve(m, &n.times(grad_o));
            grad_m.add(&times(-1.0, &y), x);
            grad_n.add(x, grad_o);
            let of_written = sum(&grad_m.times(k), &grad_n.times(self.row(2, t)));
            let written = times(beta, k);
            let of_key = sum(&grad_m.read(&written), &times(beta, &of_written));
            for (i, (x, y)) in x.iter().zip(&y).enumerate() {
                all.grads[5][lambda + i] -= x * y;
            }
            self.put(&mut all.grads[0], t, &y);
            self.put(&mut all.grads[1], t, &of_key);
            self.put(&mut all.grads[2], t, &grad_n.read(&written));
            all.grads[4][row] = dot(k, &of_written);
            grad_m.scale(&self.decay(t));
            grad_n.scale(&self.decay(t));
            let of_decay = sum(&grad_m.row_dots(m_before), &grad_n.row_dots(n_before));
            all.grads[3][row] = of_decay.iter().sum();
        }
    }

    /// (M + diag(lambda))^-1 b, by Cholesky.
    fn solve(&self, m: &Matrix, b: &[f64]) -> Vec<f64> {
        let d = b.len();
        let lambda = &self.x[5][self.h * d..(self.h + 1) * d];
        let mut l = Vec::new();
        for (i, row) in m.rows().enumerate() {
            l.push(row.to_vec());
            l[i][i] += lambda[i];
            for j in 0..=i {
                let rest = l[i][j] - dot(&l[i][..j], &l[j][..j]);
                l[i][j] = if i == j { rest.sqrt() } else { rest / l[j][j] };
            }
        }
        let mut x = b.to_vec();
        for i in 0..d {
            x[i] = (x[i] - dot(&l[i][..i], &x[..i])) / l[i][i];
        }
        for i in (0..d).rev() {
            let done: f64 = (i + 1..d).map(|k| l[k][i] * x[k]).sum();
            x[i] = (x[i] - done) / l[i][i];
        }
        x
    }

    /// Row of token t in \[B, T, H\].
    fn at(&self, t: usize) -> usize {
        (self.b * self.op.t + t) * self.op.h + self.h
    }

    fn row(&self, port: usize, t: usize) -> &[f64] {
        let d = self.op.d;
        &self.x[port][self.at(t) * d..(self.at(t) + 1) * d]
    }

    fn put(&self, to: &mut [f64], t: usize, x: &[f64]) {
        let first = self.at(t) * x.len();
        to[first..first + x.len()].copy_from_slice(x);
    }

    fn beta(&self, t: usize) -> f64 {
        self.x[4][self.at(t)]
    }

    fn decay(&self, t: usize) -> Vec<f64> {
        vec![self.x[3][self.at(t)].exp(); self.op.d]
    }
}

fn sum(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

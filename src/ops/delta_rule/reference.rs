//! The recurrence as it is defined, token by token, and its adjoint: what twin and kernels are held against.

use super::{DeltaRule, EPS};
use crate::ops::Decay;
use crate::ops::chunks::matrix::{Matrix, dot, minus, times};
use crate::ops::chunks::tests::Oracle;

/// One head in f64. `x` are the inputs in port order.
pub(super) struct Head<'a> {
    pub(super) op: &'a DeltaRule,
    pub(super) x: &'a [Vec<f64>],
    pub(super) b: usize,
    pub(super) h: usize,
}

impl Head<'_> {
    /// `o_t = scale S^T q_t` after `S <- diag(a_t) S` and n writes `S <- S + k (beta (v - S^T k))^T`. Returns what the
    /// adjoint needs: each write's error and the state that it met, and the state of each token.
    fn forward(&self, o: &mut [f64]) -> (Vec<(Vec<f64>, Matrix)>, Vec<Matrix>) {
        let (mut s, mut writes, mut states) = (self.empty(), Vec::new(), Vec::new());
        for t in 0..self.op.t {
            s.scale(&self.decay(t));
            for j in self.writes(t) {
                let (k, v) = (self.row(1, j), self.row(2, j));
                let error = minus(v, &s.read(k));
                writes.push((error.clone(), s.clone()));
                s.add(k, &times(self.beta(j), &error));
            }
            let at = self.token(t) * self.op.d_v;
            o[at..at + self.op.d_v]
                .copy_from_slice(&times(self.scale(), &s.read(self.row(0, self.token(t)))));
            states.push(s.clone());
        }
        (writes, states)
    }

    /// Output and gradients, from the gradient of the output.
    pub(super) fn run(&self, all: &mut Oracle, grad_o: &[f64]) {
        if self.op.unit {
            return self.run_unit(all, grad_o);
        }
        let (writes, states) = self.forward(&mut all.o);
        let (d_k, d_v) = (self.op.d_k, self.op.d_v);
        let put = |to: &mut [f64], row: usize, x: &[f64]| {
            to[row * x.len()..(row + 1) * x.len()].copy_from_slice(x);
        };
        let mut grad_s = self.empty();
        for t in (0..self.op.t).rev() {
            let token = self.token(t);
            let grad_o = times(self.scale(), &grad_o[token * d_v..(token + 1) * d_v]);
            grad_s.add(self.row(0, token), &grad_o);
            put(&mut all.grads[0], token, &states[t].times(&grad_o));
            let mut met = &states[t];
            for (i, j) in self.writes(t).enumerate().rev() {
                let (k, beta) = (self.row(1, j), self.beta(j));
                let (error, before) = &writes[t * self.op.householder + i];
                let seen = grad_s.read(k);
                let grad_v = times(beta, &seen);
                all.grads[3][j] = dot(&seen, error);
                put(
                    &mut all.grads[1],
                    j,
                    &minus(&grad_s.times(&times(beta, error)), &before.times(&grad_v)),
                );
                put(&mut all.grads[2], j, &grad_v);
                grad_s.add(&times(-1.0, k), &grad_v);
                met = before;
            }
            // What was met first is the decayed state.
            let of_channel = grad_s.row_dots(met);
            match self.op.decay {
                Decay::None | Decay::Constant => {}
                Decay::Scalar => all.grads[4][token] = of_channel.iter().sum(),
                Decay::Channel => all.grads[4][token * d_k..(token + 1) * d_k].copy_from_slice(&of_channel),
            }
            grad_s.scale(&self.decay(t));
        }
    }

    /// The same of queries and keys that come at any length.
    fn run_unit(&self, all: &mut Oracle, grad_o: &[f64]) {
        let op = DeltaRule {
            unit: false,
            ..self.op.clone()
        };
        let length = |row: &[f64]| (dot(row, row) + f64::from(EPS)).sqrt();
        let mut x = self.x.to_vec();
        for rows in &mut x[..2] {
            rows.chunks_mut(op.d_k).for_each(|row| {
                let length = length(row);
                row.iter_mut().for_each(|x| *x /= length);
            });
        }
        let head = Head {
            op: &op,
            x: &x,
            ..*self
        };
        head.run(all, grad_o);
        for t in 0..op.t {
            let rows = [(0, self.token(t))].into_iter();
            for (port, row) in rows.chain(self.writes(t).map(|j| (1, j))) {
                let (unit, length) = (head.row(port, row), length(self.row(port, row)));
                let grad = &mut all.grads[port][row * op.d_k..][..op.d_k];
                let along = dot(unit, grad);
                for (grad, unit) in grad.iter_mut().zip(unit) {
                    *grad = (*grad - unit * along) / length;
                }
            }
        }
    }

    fn empty(&self) -> Matrix {
        Matrix::zeros(self.op.d_k, self.op.d_v)
    }

    fn scale(&self) -> f64 {
        f64::from(self.op.scale)
    }

    /// Row of token t.
    fn token(&self, t: usize) -> usize {
        (self.b * self.op.t + t) * self.op.h + self.h
    }

    /// Rows of its writes.
    fn writes(&self, t: usize) -> impl DoubleEndedIterator<Item = usize> + ExactSizeIterator {
        let (n, b, h) = (self.op.householder, self.b, self.h);
        let (heads, tokens) = (self.op.h, self.op.t);
        (0..n).map(move |i| ((b * tokens + t) * n + i) * heads + h)
    }

    fn row(&self, port: usize, row: usize) -> &[f64] {
        let d = if port == 2 { self.op.d_v } else { self.op.d_k };
        &self.x[port][row * d..(row + 1) * d]
    }

    fn beta(&self, row: usize) -> f64 {
        self.x[3][row]
    }

    /// Decay of every key channel at token t.
    fn decay(&self, t: usize) -> Vec<f64> {
        let (d_k, token) = (self.op.d_k, self.token(t));
        match self.op.decay {
            Decay::None => vec![1.0; d_k],
            Decay::Constant => vec![1.0 - 2f64.powf(-5.0 - self.h as f64); d_k],
            Decay::Scalar => vec![self.x[4][token].exp(); d_k],
            Decay::Channel => self.row_exp(token),
        }
    }

    fn row_exp(&self, token: usize) -> Vec<f64> {
        let d_k = self.op.d_k;
        self.x[4][token * d_k..(token + 1) * d_k]
            .iter()
            .map(|g| g.exp())
            .collect()
    }
}

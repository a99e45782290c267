//! The recurrence as it is defined, token by token, and its adjoint: what twin and kernels are held against.

use super::LinearAttention;
use crate::ops::Decay;
use crate::ops::chunks::matrix::{Matrix, times};
use crate::ops::chunks::tests::Oracle;

/// One head in f64. `x` are the inputs in port order.
pub(super) struct Head<'a> {
    pub(super) op: &'a LinearAttention,
    pub(super) x: &'a [Vec<f64>],
    pub(super) b: usize,
    pub(super) h: usize,
}

impl Head<'_> {
    /// `S <- diag(a_t) S + k_t v_t^T`, `o_t = scale S^T q_t`. Returns S before and after each token.
    fn forward(&self, o: &mut [f64]) -> Vec<Matrix> {
        let mut states = vec![Matrix::zeros(self.op.d_k, self.op.d_v)];
        for t in 0..self.op.t {
            let mut s = states[t].clone();
            s.scale(&self.decay(t));
            s.add(self.key(1, t), self.value(t));
            let read = times(self.scale(), &s.read(self.key(0, t)));
            let at = self.row(t) * self.op.d_v;
            o[at..at + self.op.d_v].copy_from_slice(&read);
            states.push(s);
        }
        states
    }

    /// Output and gradients, from the gradient of the output. Those of shared queries and keys are sums over heads.
    pub(super) fn run(&self, all: &mut Oracle, grad_o: &[f64]) {
        let states = self.forward(&mut all.o);
        let (d_k, d_v) = (self.op.d_k, self.op.d_v);
        let add = |to: &mut [f64], row: usize, x: &[f64]| {
            let to = to[row * x.len()..].iter_mut();
            to.zip(x).for_each(|(to, x)| *to += x);
        };
        let mut grad_s = Matrix::zeros(d_k, d_v);
        for t in (0..self.op.t).rev() {
            let (row, key) = (self.row(t), self.key_row(t));
            let grad_o = times(self.scale(), &grad_o[row * d_v..(row + 1) * d_v]);
            grad_s.add(self.key(0, t), &grad_o);
            add(&mut all.grads[0], key, &states[t + 1].times(&grad_o));
            add(&mut all.grads[1], key, &grad_s.times(self.value(t)));
            add(&mut all.grads[2], row, &grad_s.read(self.key(1, t)));
            grad_s.scale(&self.decay(t));
            let of_channel = grad_s.row_dots(&states[t]);
            match self.op.decay {
                Decay::None | Decay::Constant => {}
                Decay::Scalar => all.grads[3][row] = of_channel.iter().sum(),
                Decay::Channel => add(&mut all.grads[3], row, &of_channel),
            }
        }
    }

    fn scale(&self) -> f64 {
        f64::from(self.op.scale)
    }

    fn row(&self, t: usize) -> usize {
        (self.b * self.op.t + t) * self.op.h + self.h
    }

    fn key_row(&self, t: usize) -> usize {
        match self.op.shared_qk {
            true => self.b * self.op.t + t,
            false => self.row(t),
        }
    }

    /// q (port 0) or k (port 1) of token t.
    fn key(&self, port: usize, t: usize) -> &[f64] {
        &self.x[port][self.key_row(t) * self.op.d_k..][..self.op.d_k]
    }

    fn value(&self, t: usize) -> &[f64] {
        &self.x[2][self.row(t) * self.op.d_v..][..self.op.d_v]
    }

    /// Decay of every key channel at token t.
    fn decay(&self, t: usize) -> Vec<f64> {
        let (d_k, row) = (self.op.d_k, self.row(t));
        match self.op.decay {
            Decay::None => vec![1.0; d_k],
            Decay::Constant => vec![1.0 - 2f64.powf(-5.0 - self.h as f64); d_k],
            Decay::Scalar => vec![self.x[3][row].exp(); d_k],
            Decay::Channel => self.x[3][row * d_k..][..d_k].iter().map(|g| g.exp()).collect(),
        }
    }
}

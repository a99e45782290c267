//! Log decays of heads, and write strengths beside them, from the columns of one projection.
//!
//! Maths      `g = -exp(A_log) softplus(y + dt_bias)`, at most 0, of the first H columns; beta = strongest sigma(y) of the W
//!            behind them, if there are any. `MesaNet`'s, [`Form::Biased`]: g = log sigma(y + `decay_bias`) and
//!            beta = strongest sigma(y + `write_bias`)
//! Shapes     y \[rows, H + W\], g \[rows, H\], beta \[rows, W\], `A_log`, `dt_bias`, `decay_bias` \[H\], `write_bias` \[W\]
//! Gradients  `dy = -dg exp(A_log) sigma(y + dt_bias)` or dg sigma(-y - `decay_bias`), and dbeta strongest sigma(z) sigma(-z) of
//!            what z beta is of; that of `A_log` is the sum over rows of dg g, that of a bias of dy, in two stages; g is computed again
//! Numerics   always f32. softplus without overflow and with the digits of its lower tail; no overflow for
//!            `A_log` < 80
//! Cost       forward 8 n + 6 m FLOPs, 8 (n + m) bytes; backward 16 n + 6 m FLOPs, 12 (n + m) bytes; n = rows H, m = rows W
//! Errors     rows or H 0, more than 2^31 - 1 elements, H + W above 8192; biased, W other than H
//! Source     models.md 3.6, 3.7, 3.8, 4.10; golden: the model fixtures

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use super::rows;
use crate::error::UserError;
use crate::port::{OpDef, Pass, Port};

/// Where decays and write strengths come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Decays from a rate a head and a step, of softplus; no bias of writes.
    Rate,
    /// Both from sigma, each with a bias: as many writes as decays.
    Biased,
}

/// See the module docs. Inputs: y, `A_log`, `dt_bias` or y, `decay_bias`, `write_bias`; outputs g and, with `writes`, beta.
#[derive(Debug, Clone, PartialEq)]
pub struct DecayGate {
    /// Rows: B T.
    pub rows: usize,
    /// Heads.
    pub h: usize,
    /// Columns of write strengths: W.
    pub writes: usize,
    /// Write strengths are between 0 and this.
    pub strongest: f32,
    /// What they are made by.
    pub form: Form,
}

impl DecayGate {
    /// Decays alone, by rates.
    pub fn new(rows: usize, h: usize) -> Self {
        Self {
            rows,
            h,
            writes: 0,
            strongest: 1.0,
            form: Form::Rate,
        }
    }

    /// Decays and write strengths between 0 and 1, with biases.
    pub fn biased(rows: usize, h: usize) -> Self {
        Self {
            writes: h,
            form: Form::Biased,
            ..Self::new(rows, h)
        }
    }

    /// The inputs behind y.
    fn parameters(&self) -> [&'static str; 2] {
        match self.form {
            Form::Rate => ["A_log", "dt_bias"],
            Form::Biased => ["decay_bias", "write_bias"],
        }
    }

    /// Columns of y.
    fn width(&self) -> usize {
        self.h + self.writes
    }
}

impl OpDef for DecayGate {
    const NAME: &'static str = "decay_gate";

    fn validate(&self) -> Result<(), UserError> {
        rows::check_sizes(Self::NAME, &[("H", self.h)])?;
        if self.form == Form::Biased && self.writes != self.h {
            let reason = format!("W is {} with biases: as many as H, {}", self.writes, self.h);
            return Err(UserError::Shape {
                op: Self::NAME,
                reason,
            });
        }
        rows::check_rows(Self::NAME, self.rows, self.width())
    }

    fn inputs(&self) -> Vec<Port> {
        let mut ports = vec![Port::activation("y", &[self.rows, self.width()]).saved()];
        ports.extend(self.parameters().map(|name| Port::f32(name, &[self.h]).saved()));
        ports
    }

    fn outputs(&self) -> Vec<Port> {
        let mut ports = vec![Port::f32("g", &[self.rows, self.h])];
        if self.writes > 0 {
            ports.push(Port::f32("beta", &[self.rows, self.writes]));
        }
        ports
    }

    fn flops(&self, pass: Pass) -> f64 {
        let [n, m] = [self.h, self.writes].map(|columns| (self.rows * columns) as f64);
        match pass {
            Pass::Forward => 8.0 * n + 6.0 * m,
            Pass::Backward => 16.0 * n + 6.0 * m,
        }
    }
}

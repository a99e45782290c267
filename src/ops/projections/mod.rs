//! Several dense layers of one input, as the queries, keys, values and gates of a block.
//!
//! Maths      `y_i = x W_i^T` for each layer i
//! Shapes     x \[rows, inp\], w \[sum of outs, inp\]: the layers' matrices one behind another; each output \[rows, its out\]
//! Gradients  `dx = sum dy_i W_i`, `dW_i = dy_i^T x`. Saved: nothing but x and w. dx adds where x has several readers; dW adds to
//!            the gradient bank
//! Numerics   as `linear`. On matrix units dx is one product over all outputs: summed in f32 and rounded once in mixed
//!            precision; in f32 all matrices have one scale, and all dy: that of the largest
//! Variants   those of `linear`. On matrix units each of these is one product, where rows and inputs fill a tile and the outputs, or
//!            their gradients, can lie one behind another (`Lower::joined`): y and dW of the first layers, as long as they have a
//!            multiple of 128 outputs, and dx if each has one of 32, the last one of 4. What is left is a product a layer
//! Cost       as so many calls of `linear`, but that dx is written once
//! Errors     fewer than 2 or more than 6 layers; a matrix that ends within 128 elements, so that the next does not begin at a legal
//!            binding; what `linear` refuses
//! Source     models.md 1; golden: the model fixtures

pub mod cases;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(test)]
mod tests;

use super::linear::Linear;
use crate::error::UserError;
use crate::port::{InputGrad, OpDef, Pass, Port};

/// `y_i = x W_i^T`.
#[derive(Debug, Clone, PartialEq)]
pub struct Projections {
    /// Rows of x and of every y: samples times time steps.
    pub rows: usize,
    /// Inputs of the layers.
    pub inp: usize,
    /// Outputs of each layer.
    pub outs: Vec<usize>,
}

/// The ports of the outputs.
const OUTPUTS: [&str; 6] = ["y0", "y1", "y2", "y3", "y4", "y5"];

/// Elements by which matrices begin: those of a legal binding in f16.
const ALIGN: usize = 128;

impl Projections {
    /// Each layer by itself.
    fn layers(&self) -> Vec<Linear> {
        let layer = |&out| Linear {
            rows: self.rows,
            inp: self.inp,
            out,
            bias: false,
        };
        self.outs.iter().map(layer).collect()
    }

    /// The ports of its outputs.
    fn names(&self) -> &'static [&'static str] {
        &OUTPUTS[..self.outs.len()]
    }
}

impl OpDef for Projections {
    const NAME: &'static str = "projections";

    fn validate(&self) -> Result<(), UserError> {
        let refuse = |reason: String| {
            Err(UserError::Shape {
                op: Self::NAME,
                reason,
            })
        };
        let [n, most] = [self.outs.len(), OUTPUTS.len()];
        if !(2..=most).contains(&n) {
            return refuse(format!("{n} layers; allowed: 2 to {most}"));
        }
        let all = Linear {
            rows: self.rows,
            inp: self.inp,
            out: self
                .outs
                .iter()
                .fold(0, |sum: usize, out| sum.saturating_add(*out)),
            bias: false,
        };
        self.layers().iter().chain([&all]).try_for_each(OpDef::validate)?;
        let unaligned = |out: &&usize| !(*out * self.inp).is_multiple_of(ALIGN);
        match self.outs[..n - 1].iter().find(unaligned) {
            Some(out) => refuse(format!(
                "{out} outputs of {} inputs before others; allowed: multiples of {ALIGN} elements",
                self.inp
            )),
            None => Ok(()),
        }
    }

    fn inputs(&self) -> Vec<Port> {
        vec![
            Port::activation("x", &[self.rows, self.inp])
                .grad(InputGrad::Accumulates)
                .saved(),
            Port::weight("w", &[self.outs.iter().sum(), self.inp]).saved(),
        ]
    }

    fn outputs(&self) -> Vec<Port> {
        let ports = self.names().iter().zip(&self.outs);
        ports
            .map(|(name, out)| Port::activation(name, &[self.rows, *out]))
            .collect()
    }

    fn flops(&self, pass: Pass) -> f64 {
        self.layers().iter().map(|layer| layer.flops(pass)).sum()
    }
}

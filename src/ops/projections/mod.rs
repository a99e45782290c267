//! Several dense layers of one input, as the queries, keys, values and gates of a block.
//!
//! Maths      `y_i = x W_i^T` for each layer i
//! Shapes     x \[rows, inp\], w \[sum of outs, inp\]: the layers' matrices one behind another; each output \[rows, its out\]
//! Gradients  `dx = sum dy_i W_i`, `dW_i = dy_i^T x`. Saved: nothing but x and w. dx adds where x has several readers; dW adds to
//!            the gradient bank
//! Numerics   as `linear`. On matrix units dx is one product over all outputs: summed in f32 and rounded once in mixed
//!            precision; in f32 all matrices have one scale, and all dy: that of the largest
//! Variants   those of `linear`. On matrix units y, dx and dW are one product each for the first layers, as long as they have a
//!            multiple of 4 outputs, where rows, inputs and these outputs together fill a tile and can lie one behind another, or
//!            their gradients (`Lower::joined`). A product a layer elsewhere, of a copy of its matrix where that does not begin at a
//!            legal binding offset
//! Cost       as so many calls of `linear`, but that dx is written once
//! Errors     fewer than 2 or more than 6 layers; what `linear` refuses
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
        let [n, most] = [self.outs.len(), OUTPUTS.len()];
        if !(2..=most).contains(&n) {
            return Err(UserError::Shape {
                op: Self::NAME,
                reason: format!("{n} layers; allowed: 2 to {most}"),
            });
        }
        let matrix = Linear {
            rows: 1,
            inp: self.inp,
            out: self
                .outs
                .iter()
                .fold(0, |sum: usize, out| sum.saturating_add(*out)),
            bias: false,
        };
        self.layers()
            .iter()
            .chain([&matrix])
            .try_for_each(OpDef::validate)
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

//! What a block shows of its gates, for whoever looks at a trained model.

use super::Net;
use crate::tensor::TensorId;

/// What a gate does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Share of the state that is kept from one step to the next.
    Decay,
    /// What scales that which a token writes.
    Write,
    /// What multiplies the output.
    Readout,
}

/// How the gate follows from the tensors that a block has anyway. W are the columns of the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// e^x of a log decay \[rows, W\].
    Exp,
    /// x itself.
    Plain,
    /// silu(x).
    Silu,
    /// sigma(x).
    Sigmoid,
    /// sigma of the second half of the columns.
    SigmoidOfHalf,
    /// softplus(x + bias): a step size; tensors x \[rows, W\], bias \[W\].
    Step,
    /// exp(-softplus(x + bias) exp(`A_log`)), the mean over the states; tensors x, bias, `A_log` \[W, N\].
    StateDecay,
}

/// A gate of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownGate {
    /// Its place in the stack.
    pub layer: usize,
    /// What it does.
    pub gate: Gate,
    /// How to read it.
    pub form: Form,
    /// See [`Form`].
    pub tensors: Vec<TensorId>,
    /// Heads that the columns belong to, so many columns each in a row.
    pub heads: usize,
    /// The heads take turns instead: several writes a token.
    pub interleaved: bool,
}

impl Net {
    /// Keeps the tensors of [`Net::gates`] until the host has read them. Call it before the graph is loaded.
    pub fn keep_gates(&mut self) {
        for gate in &self.gates {
            for id in &gate.tensors {
                self.graph.keep(*id);
            }
        }
    }
}

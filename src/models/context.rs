//! What a block's builder is told.

use super::gates::{Form, Gate, ShownGate};
use super::{BlockRef, Gates, ModelConfig};
use crate::error::Result;
use crate::graph::Graph;
use crate::ops::Op;
use crate::tensor::TensorId;
use std::cell::RefCell;

/// The layer that a block is built for. Its methods append calls over \[B T\] rows to the graph.
#[derive(Debug, Clone, Copy)]
pub struct BlockContext<'a> {
    pub(super) config: &'a ModelConfig,
    pub(super) block: BlockRef,
    pub(super) b: usize,
    pub(super) t: usize,
    pub(super) layer: usize,
    /// In a graph that runs once a token.
    pub(super) decoding: Option<Decoding>,
    /// Gates that blocks have shown so far.
    pub(super) shown: &'a RefCell<Vec<ShownGate>>,
}

impl BlockContext<'_> {
    /// The model.
    pub fn config(&self) -> &ModelConfig {
        self.config
    }

    /// B, sequences.
    pub fn b(&self) -> usize {
        self.b
    }

    /// T, time steps of each.
    pub fn t(&self) -> usize {
        self.t
    }

    /// B T.
    pub fn rows(&self) -> usize {
        self.b * self.t
    }

    /// Place in the stack, which also tells the layer's dropout masks from those of others.
    pub fn layer(&self) -> usize {
        self.layer
    }

    /// The gates of this block, the configuration's switches applied.
    pub(super) fn gates(&self) -> Gates {
        self.config
            .gates(self.block)
            .expect("asked for by linear recurrent blocks alone")
    }

    /// Shows a gate of `heads` heads to whoever looks at the trained model (`selectiv eval --gates`).
    pub fn show(&self, gate: Gate, form: Form, tensors: &[TensorId], heads: usize) {
        self.shown.borrow_mut().push(ShownGate {
            layer: self.layer,
            gate,
            form,
            tensors: tensors.to_vec(),
            heads,
            interleaved: false,
        });
    }

    /// As [`BlockContext::show`], of a gate with several values a token, each of all heads.
    pub(super) fn show_writes(&self, gate: Gate, form: Form, tensors: &[TensorId], heads: usize) {
        self.show(gate, form, tensors, heads);
        if let Some(shown) = self.shown.borrow_mut().last_mut() {
            shown.interleaved = true;
        }
    }
}

/// Where a graph that runs once a token is in its sequences.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decoding {
    /// \[1\] u32: how many tokens came before.
    pub(super) position: TensorId,
    /// Most tokens of a sequence.
    pub(super) most: usize,
}

/// Appends a call and returns its first output.
pub(super) fn one(g: &mut Graph, op: impl Into<Op>, ins: &[TensorId]) -> Result<TensorId> {
    Ok(g.call(op, ins)?[0])
}

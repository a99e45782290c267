//! What is timed: an op at a shape.

use crate::ops::Op;
use crate::port::{Cost, Pass};
use crate::tensor::Precision;

/// Which criterion file an op belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// Matrix products, and the head that is made of them.
    Dense,
    /// Norms of rows.
    Norms,
    /// Linear recurrences.
    Recurrences,
    /// Softmax attention and its positions.
    Attention,
    /// What is bound by bandwidth: gates, activations, short filters, the optimiser.
    Elementwise,
}

/// One op at one shape.
#[derive(Debug, Clone)]
pub struct Bench {
    /// The op, or the kind of it that is timed, such as `gated_delta_rule`.
    pub kind: &'static str,
    /// Its shape in words.
    pub shape: String,
    /// Where the shape comes from (before it was scaled down).
    pub source: &'static str,
    /// Which ops it belongs with.
    pub family: Family,
    /// The op with its sizes.
    pub op: Op,
}

impl Bench {
    /// Kind and shape: the same name is the same work, on every device and in every version.
    pub fn name(&self) -> String {
        format!("{} {}", self.kind, self.shape)
    }

    /// Whether there is a backward pass to time.
    pub fn trains(&self) -> bool {
        self.op.inputs().iter().any(|port| port.grad.has_kernel())
    }

    /// FLOPs and bytes of a run.
    pub fn cost(&self, timed: Timed) -> Cost {
        let passes: &[Pass] = match timed {
            Timed::Forward => &[Pass::Forward],
            Timed::Training => &[Pass::Forward, Pass::Backward],
        };
        let costs = passes.iter().map(|pass| self.op.cost(*pass, Precision::F32));
        costs.fold(Cost::default(), |sum, one| Cost {
            flops: sum.flops + one.flops,
            bytes: sum.bytes + one.bytes,
        })
    }

    /// Whether `--op name` means it.
    pub fn answers_to(&self, name: &str) -> bool {
        self.kind == name || self.op.name() == name
    }
}

/// What of an op is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Timed {
    /// The forward call, saved tensors included.
    Forward,
    /// Forward and backward, with random gradients of the outputs.
    Training,
}

impl Timed {
    /// As results name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Training => "training",
        }
    }
}

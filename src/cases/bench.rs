//! What of an op is timed: the shapes that it has in a training step of the paper's stack or, for a recurrence, in the
//! fixed suite. Each op states its own.

use crate::ops::Op;
use crate::port::{Cost, Pass};
use crate::tensor::Precision;

/// Width of the paper's stack, of a key head and of a value head.
pub const D: usize = 1024;
/// See [`D`].
pub const D_K: usize = 128;
/// See [`D`].
pub const D_V: usize = 256;
/// Its heads.
pub const HEADS: usize = 8;
/// Symbols and classes of the paper's first task.
pub const VOCAB: usize = 41;
/// See [`VOCAB`].
pub const CLASSES: usize = 1601;
/// Parameters of the paper's Gated DeltaNet.
const PARAMS: usize = 69_100_000;
/// The paper's batch: sequences and time steps.
const PAPER: (usize, usize) = (64, 400);
/// A sequence ten times as long.
const LONG: (usize, usize) = (8, 4096);

const STACK: &str = "the paper's stack: batch 64, 400 steps, width 1024";
const LONG_SOURCE: &str = "batch 8, 4096 steps";
const TOKEN: &str = "a token of the paper's stack: batch 64, width 1024, after 400 steps";

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

/// By how much shapes are made smaller, a power of two: first the batch is halved, then the heads, then the time steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale(pub usize);

impl Scale {
    fn apply(self, full: Extents) -> Extents {
        let Extents { mut b, mut h, mut t } = full;
        for _ in 0..self.0.max(1).ilog2() {
            if let Some(n) = [&mut b, &mut h, &mut t].into_iter().find(|n| **n > 1) {
                *n /= 2;
            }
        }
        Extents { b, t, h }
    }

    /// So many, made smaller.
    pub fn divide(self, n: usize) -> usize {
        (n / self.0.max(1)).max(1)
    }

    /// Sequences, time steps and heads of the paper's stack.
    pub fn paper(self) -> Extents {
        let (b, t) = PAPER;
        self.apply(Extents { b, t, h: HEADS })
    }

    /// Time steps of all sequences of the paper's stack.
    pub fn rows(self) -> usize {
        self.divide(PAPER.0 * PAPER.1)
    }

    /// Parameters of the paper's Gated DeltaNet.
    pub fn params(self) -> usize {
        self.divide(PARAMS)
    }
}

/// Sequences, time steps, heads.
#[derive(Debug, Clone, Copy)]
pub struct Extents {
    /// B.
    pub b: usize,
    /// T.
    pub t: usize,
    /// H.
    pub h: usize,
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
    /// The fixed suite that it belongs to.
    pub suite: Option<&'static str>,
    /// The op with its sizes.
    pub op: Op,
}

impl Bench {
    /// An op as the paper's stack has it.
    pub fn new(family: Family, shape: String, op: impl Into<Op>) -> Self {
        let op = op.into();
        Self {
            kind: op.name(),
            shape,
            source: STACK,
            family,
            suite: None,
            op,
        }
    }

    /// What decoding runs once a token and layer of the paper's stack.
    pub fn token(family: Family, shape: String, op: impl Into<Op>) -> Self {
        Self::new(family, shape, op).source(TOKEN)
    }

    /// The lines of a recurrence in the suite `recurrence`: a kind of an op with `heads` heads (or channels), what each of
    /// them looks like, and the op at given extents. Attention, plain and forgetting, is there as the yardstick.
    pub fn suite(
        scale: Scale,
        kind: &'static str,
        heads: usize,
        width: &str,
        make: impl Fn(Extents) -> Op,
    ) -> Vec<Self> {
        let shapes = [(PAPER, STACK), (LONG, LONG_SOURCE)];
        let of = |((b, t), source)| {
            let e @ Extents { b, t, h } = scale.apply(Extents { b, t, h: heads });
            Self {
                suite: Some("recurrence"),
                ..Self::new(Family::Recurrences, format!("B{b} T{t} H{h} {width}"), make(e))
            }
            .kind(kind)
            .source(source)
        };
        shapes.into_iter().map(of).collect()
    }

    /// The same of a kind of the op.
    #[must_use]
    pub fn kind(self, kind: &'static str) -> Self {
        Self { kind, ..self }
    }

    /// The same from elsewhere.
    #[must_use]
    pub fn source(self, source: &'static str) -> Self {
        Self { source, ..self }
    }

    /// Kind and shape: the same name is the same work, on every device and in every version.
    pub fn name(&self) -> String {
        format!("{} {}", self.kind, self.shape)
    }

    /// Whether there is a backward pass to time.
    pub fn trains(&self) -> bool {
        self.op.inputs().iter().any(|port| port.grad.has_kernel())
    }

    /// FLOPs and bytes of a run.
    pub fn cost(&self, timed: Timed, precision: Precision) -> Cost {
        let passes: &[Pass] = match timed {
            Timed::Forward => &[Pass::Forward],
            Timed::Training => &[Pass::Forward, Pass::Backward],
        };
        let costs = passes.iter().map(|pass| self.op.cost(*pass, precision));
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

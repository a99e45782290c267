//! What a tensor is to the engine: a name, a shape, how it is stored and what it is for. Data lives in a runtime.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How the elements of a tensor are stored on a device. Arithmetic is always f32 there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// 32-bit float.
    F32,
    /// 16-bit float: activations and their gradients in mixed precision.
    F16,
    /// 32-bit unsigned integer: symbols, labels, windows.
    U32,
}

impl Dtype {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 | Self::U32 => 4,
            Self::F16 => 2,
        }
    }
}

/// How a model's activations and their gradients are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Everything in f32.
    #[default]
    F32,
    /// Activations in f16, and f16 copies of the weights that products take; parameters, states, decays and statistics in
    /// f32.
    Mixed,
}

impl Precision {
    /// The storage type of an activation.
    pub fn activation(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::Mixed => Dtype::F16,
        }
    }

    /// As flags and results have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Mixed => "mixed",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The persistent storage of a model: four equally laid out banks of f32, and two that mixed precision adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bank {
    /// Parameters.
    Param,
    /// Their gradients: kernels add (`+=`) to these; the step clears them first.
    Grad,
    /// Adam's first moment.
    Moment1,
    /// Adam's second moment.
    Moment2,
    /// The loss scale and its counters, `LOSS_SCALE` values of f32 (see `ops::grad_norm`).
    Scale,
    /// The parameters rounded to f16, laid out as they are: what products read.
    Half,
}

/// Values of [`Bank::Scale`]: the scale, updates since it last changed, updates that were skipped, 0.
pub const LOSS_SCALE: usize = 4;

impl Bank {
    /// All banks, in storage order.
    pub const ALL: [Self; 6] = [
        Self::Param,
        Self::Grad,
        Self::Moment1,
        Self::Moment2,
        Self::Scale,
        Self::Half,
    ];

    /// How it is stored.
    pub fn dtype(self) -> Dtype {
        match self {
            Self::Half => Dtype::F16,
            _ => Dtype::F32,
        }
    }

    /// Its elements, where the parameters take so many.
    pub fn elements(self, bank_len: usize) -> usize {
        match self {
            Self::Scale => LOSS_SCALE,
            _ => bank_len,
        }
    }

    /// Whether every graph with parameters has it; the others are made where a call touches them.
    pub fn always(self) -> bool {
        !matches!(self, Self::Scale | Self::Half)
    }

    /// Its bytes, where the parameters take so many elements; `usize::MAX` if they are more.
    pub fn bytes(self, bank_len: usize) -> usize {
        self.elements(bank_len).saturating_mul(self.dtype().bytes())
    }
}

/// What a tensor is for, which decides where it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A part of a persistent bank, starting at this element.
    Bank(Bank, usize),
    /// Written by the host before each run.
    Input,
    /// Lives between its first writer and its last reader.
    Activation,
    /// Kept until the host has read it.
    Result,
    /// Keeps its values from one run to the next; zero when the graph is loaded.
    State,
}

/// Bytes by which what is bound by itself begins: legal on every adapter.
pub(crate) const BINDING_ALIGN: usize = 256;

/// A tensor of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorId(pub(crate) u32);

impl TensorId {
    /// Position in the graph's tensor list.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Description of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Scope and name, such as `layers.0.q` or, for parameters, the reference's `state_dict` name.
    pub name: String,
    /// Extents, slowest first.
    pub shape: Vec<usize>,
    /// Storage type.
    pub dtype: Dtype,
    /// Where it lives.
    pub role: Role,
}

impl TensorInfo {
    /// Number of elements; `usize::MAX` if it is larger.
    pub fn numel(&self) -> usize {
        numel(&self.shape)
    }

    /// Size in storage; `usize::MAX` if it is larger.
    pub fn bytes(&self) -> usize {
        self.numel().saturating_mul(self.dtype.bytes())
    }
}

/// Elements of a shape; `usize::MAX` if they are more, which no memory holds.
pub fn numel(shape: &[usize]) -> usize {
    // A zero anywhere wins over an overflow before it.
    match shape.contains(&0) {
        true => 0,
        false => shape.iter().fold(1, |n: usize, extent| n.saturating_mul(*extent)),
    }
}

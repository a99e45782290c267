//! What a tensor is to the engine: a name, a shape, how it is stored and what it is for. Data lives in a runtime.

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// Everything in f32.
    #[default]
    F32,
    /// Activations in f16; parameters, states, decays and statistics in f32.
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
}

/// The persistent storage of a model: four equally laid out banks of f32.
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
}

impl Bank {
    /// All banks, in storage order.
    pub const ALL: [Self; 4] = [Self::Param, Self::Grad, Self::Moment1, Self::Moment2];
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

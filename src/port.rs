//! What every op states about itself: its ports, its sizes, and the work of a call.

use crate::error::UserError;
use crate::tensor::{Dtype, Precision, numel};

/// Forward or backward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pass {
    /// Outputs from inputs.
    Forward,
    /// Gradients of the inputs from those of the outputs.
    Backward,
}

impl Pass {
    /// `fwd` or `bwd`, as in kernel names.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Forward => "fwd",
            Self::Backward => "bwd",
        }
    }
}

/// How the tensor at a port is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Storage {
    /// A value that flows through the model, as the precision says: f32 or f16. An input may come in either.
    Activation,
    /// A matrix of parameters that products read, as the precision says: the f32 parameters or their f16 copy. Its gradient
    /// is f32.
    Weight,
    /// f32 in every precision: parameters, decays, write strengths, statistics, states, and what is summed up.
    F32,
    /// u32: symbols, labels, windows, positions.
    Index,
}

impl Storage {
    /// The storage type in a precision.
    pub fn dtype(self, precision: Precision) -> Dtype {
        match self {
            Self::Activation | Self::Weight => precision.activation(),
            Self::F32 => Dtype::F32,
            Self::Index => Dtype::U32,
        }
    }

    /// Whether a tensor of that type may come in.
    pub fn takes(self, dtype: Dtype) -> bool {
        match self {
            Self::Activation | Self::Weight => dtype != Dtype::U32,
            Self::F32 => dtype == Dtype::F32,
            Self::Index => dtype == Dtype::U32,
        }
    }
}

/// How the gradient of an input comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputGrad {
    /// It has none (symbols, labels); or, for an output, nobody may give one (saved tensors).
    None,
    /// The backward call writes it; for parameters it always adds to the gradient bank.
    Kernel,
    /// As `Kernel`, and the backward call can also add to what is there (activations with several readers).
    Accumulates,
    /// It is the gradient of the op's only output, unchanged.
    Passes,
}

impl InputGrad {
    /// Whether the backward call computes it.
    pub fn has_kernel(self) -> bool {
        matches!(self, Self::Kernel | Self::Accumulates)
    }
}

/// An input or output of an op: the one contract between model, graph, kernels and twin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Name in the maths, such as `q`; no other port of the op has it.
    pub name: &'static str,
    /// Extents, slowest first. Inputs may come in any shape with the same number of elements.
    pub shape: Vec<usize>,
    /// How it is stored.
    pub storage: Storage,
    /// The backward call reads it.
    pub saved: bool,
    /// For inputs: where the gradient comes from; for outputs: whether they have one.
    pub grad: InputGrad,
    /// For outputs: a tensor that lives on from run to run and that the call updates in place.
    pub state: bool,
}

impl Port {
    fn of(name: &'static str, shape: &[usize], storage: Storage) -> Self {
        Self {
            name,
            shape: shape.to_vec(),
            storage,
            saved: false,
            grad: InputGrad::Kernel,
            state: false,
        }
    }

    /// An activation with a gradient from the op's backward call.
    pub fn activation(name: &'static str, shape: &[usize]) -> Self {
        Self::of(name, shape, Storage::Activation)
    }

    /// A matrix of parameters with a gradient from the op's backward call.
    pub fn weight(name: &'static str, shape: &[usize]) -> Self {
        Self::of(name, shape, Storage::Weight)
    }

    /// As [`Port::activation`], always in f32.
    pub fn f32(name: &'static str, shape: &[usize]) -> Self {
        Self::of(name, shape, Storage::F32)
    }

    /// Integers, without a gradient.
    pub fn index(name: &'static str, shape: &[usize]) -> Self {
        Self::of(name, shape, Storage::Index).fixed()
    }

    /// A state: an f32 output that the call finds as the last run left it, zero in the first.
    pub fn state(name: &'static str, shape: &[usize]) -> Self {
        Self {
            state: true,
            ..Self::f32(name, shape).fixed()
        }
    }

    /// The same port, read by the backward call.
    pub fn saved(self) -> Self {
        Self { saved: true, ..self }
    }

    /// The same port without a gradient.
    pub fn fixed(self) -> Self {
        self.grad(InputGrad::None)
    }

    /// The same port with another source of its gradient.
    pub fn grad(self, grad: InputGrad) -> Self {
        Self { grad, ..self }
    }

    /// Elements.
    pub fn numel(&self) -> usize {
        numel(&self.shape)
    }

    fn bytes(&self, precision: Precision) -> f64 {
        (self.numel() * self.storage.dtype(precision).bytes()) as f64
    }
}

/// What a call reads and writes, each under its port's name: tensors of a graph, views of device memory, or slices.
#[derive(Debug, Clone)]
pub struct Operands<I, O> {
    /// Inputs; backward: inputs and outputs of the forward call that it reads.
    pub reads: Vec<(&'static str, I)>,
    /// Outputs; backward: none.
    pub writes: Vec<(&'static str, O)>,
    /// Backward: gradients of outputs, of those that have one.
    pub grads: Vec<(&'static str, I)>,
    /// Backward: gradients of inputs, of those that somebody wants.
    pub wanted: Vec<(&'static str, O)>,
}

impl<I, O> Default for Operands<I, O> {
    fn default() -> Self {
        Self {
            reads: Vec::new(),
            writes: Vec::new(),
            grads: Vec::new(),
            wanted: Vec::new(),
        }
    }
}

/// The one of that name.
pub(crate) fn named<'a, T>(all: &'a [(&'static str, T)], name: &str) -> Option<&'a T> {
    all.iter().find(|(n, _)| *n == name).map(|(_, x)| x)
}

impl<I, O> Operands<I, O> {
    /// A forward call.
    pub fn forward(reads: &[(&'static str, I)], writes: &[(&'static str, O)]) -> Self
    where
        I: Clone,
        O: Clone,
    {
        Self {
            reads: reads.to_vec(),
            writes: writes.to_vec(),
            ..Self::default()
        }
    }

    /// Everything read.
    pub fn all_reads(&self) -> impl Iterator<Item = &I> {
        self.reads.iter().chain(&self.grads).map(|(_, x)| x)
    }

    /// Everything written.
    pub fn all_writes(&self) -> impl Iterator<Item = &O> {
        self.writes.iter().chain(&self.wanted).map(|(_, x)| x)
    }

    /// The same operands as something else.
    pub fn map<J, P>(&self, read: impl Fn(&I) -> J, write: impl Fn(&O) -> P) -> Operands<J, P> {
        fn each<A, B>(all: &[(&'static str, A)], f: impl Fn(&A) -> B) -> Vec<(&'static str, B)> {
            all.iter().map(|(name, x)| (*name, f(x))).collect()
        }
        Operands {
            reads: each(&self.reads, &read),
            writes: each(&self.writes, &write),
            grads: each(&self.grads, &read),
            wanted: each(&self.wanted, &write),
        }
    }
}

/// Work of one call. The benches and rooflines use these.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// Multiplications plus additions.
    pub flops: f64,
    /// Bytes that must move, each operand once.
    pub bytes: f64,
}

/// What every op states (`mod.rs` of its folder).
pub trait OpDef {
    /// The op's name everywhere: folder, shaders, labels, benches, command line.
    const NAME: &'static str;

    /// Refuses sizes that the op cannot have, with what is allowed.
    fn validate(&self) -> Result<(), UserError> {
        Ok(())
    }
    /// Input ports.
    fn inputs(&self) -> Vec<Port>;
    /// Output ports, saved tensors or states last.
    fn outputs(&self) -> Vec<Port>;
    /// Whether the backward pass in mixed precision computes its outputs again, so that they take no memory in between: of ops
    /// that take the time of their bytes, from inputs that are kept anyway. Outputs of less than 32 MiB stay.
    fn again(&self) -> bool {
        false
    }
    /// Multiplications plus additions of a call.
    fn flops(&self, pass: Pass) -> f64;
    /// Bytes that a call must move, each operand once, as it is stored.
    fn bytes(&self, pass: Pass, precision: Precision) -> f64 {
        ports_bytes(self, pass, precision)
    }
    /// FLOPs and bytes.
    fn cost(&self, pass: Pass, precision: Precision) -> Cost {
        Cost {
            flops: self.flops(pass),
            bytes: self.bytes(pass, precision),
        }
    }
}

/// Bytes of every tensor that a call reads or writes at a port, states twice: what most ops must move.
pub fn ports_bytes<T: OpDef + ?Sized>(op: &T, pass: Pass, precision: Precision) -> f64 {
    let (inputs, outputs) = (op.inputs(), op.outputs());
    match pass {
        Pass::Forward => {
            let twice = |p: &Port| if p.state { 2.0 } else { 1.0 };
            let read: f64 = inputs.iter().map(|p| p.bytes(precision)).sum();
            let written: f64 = outputs.iter().map(|p| twice(p) * p.bytes(precision)).sum();
            read + written
        }
        Pass::Backward => {
            let all = inputs.iter().chain(&outputs);
            let saved = all.filter(|p| p.saved).map(|p| p.bytes(precision));
            let wanted = inputs.iter().filter(|p| p.grad.has_kernel());
            let given = outputs.iter().filter(|p| p.grad != InputGrad::None);
            let gradients = wanted.chain(given).map(|p| p.bytes(precision));
            saved.chain(gradients).sum()
        }
    }
}

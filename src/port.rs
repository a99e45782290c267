//! What every op states about itself: its ports, its sizes, and the work of a call.

use crate::error::UserError;
use crate::tensor::Dtype;

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

/// How the gradient of an input comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputGrad {
    /// It has none (symbols, labels).
    None,
    /// The backward call writes it; for parameters it always adds to the gradient bank.
    Kernel,
    /// As `Kernel`, and the backward call can also add to what is there (activations with several readers).
    Accumulates,
    /// It is the gradient of the op's only output, unchanged.
    Passes,
}

/// An input or output of an op.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Name in the maths, such as `q`.
    pub name: &'static str,
    /// Extents, slowest first. Inputs may come in any shape with the same number of elements.
    pub shape: Vec<usize>,
    /// Storage type.
    pub dtype: Dtype,
    /// For inputs: where the gradient comes from.
    pub grad: InputGrad,
    /// For outputs: a tensor that lives on from run to run and that the call updates in place.
    pub state: bool,
}

impl Port {
    /// An f32 port with a gradient from the op's backward call.
    pub fn new(name: &'static str, shape: &[usize]) -> Self {
        Self {
            name,
            shape: shape.to_vec(),
            dtype: Dtype::F32,
            grad: InputGrad::Kernel,
            state: false,
        }
    }

    /// An f32 input of an op that is never trained through.
    pub fn fixed(name: &'static str, shape: &[usize]) -> Self {
        Self::new(name, shape).grad(InputGrad::None)
    }

    /// A state: an f32 output that the call finds as the last run left it, zero in the first.
    pub fn state(name: &'static str, shape: &[usize]) -> Self {
        Self {
            state: true,
            ..Self::fixed(name, shape)
        }
    }

    /// A u32 port without a gradient.
    pub fn index(name: &'static str, shape: &[usize]) -> Self {
        Self {
            name,
            shape: shape.to_vec(),
            dtype: Dtype::U32,
            grad: InputGrad::None,
            state: false,
        }
    }

    /// The same port with another source of its gradient.
    pub fn grad(mut self, grad: InputGrad) -> Self {
        self.grad = grad;
        self
    }
}

/// Which forward inputs and outputs the backward call reads, by port position.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reads {
    /// Forward inputs.
    pub ins: &'static [usize],
    /// Forward outputs: the saved tensors.
    pub outs: &'static [usize],
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
    /// What the backward call reads besides the outputs' gradients.
    fn backward_reads(&self) -> Reads {
        Reads::default()
    }
    /// FLOPs and bytes.
    fn cost(&self, pass: Pass) -> Cost;
}

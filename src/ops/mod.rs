//! The fixed op set. One folder per op holds its maths, shapes, cost, CPU twin, kernels' launch and tests.
//!
//! Adding an op: `docs/adding-an-op.md`.

use crate::check::{Case, Golden};
use crate::cpu::{In, Out, Real};
use crate::error::{Result, UserError};
#[cfg(feature = "gpu")]
use crate::gpu::lower::{GpuOut, Lower, View};
use crate::step::StepParams;
use crate::tensor::{Dtype, TensorId};

mod chunks;
#[cfg(feature = "gpu")]
mod lanes;
mod reduce;
mod rows;

pub mod adam;
pub mod add;
pub mod attention;
pub mod attention_step;
pub mod conv_step;
pub mod cross_entropy;
pub mod decay_gate;
pub mod delta_rule;
pub mod dropout;
pub mod fill;
pub mod gelu_dropout;
pub mod glu;
pub mod grad_norm;
pub mod gru;
pub mod gru_step;
pub mod head_loss;
pub mod l2_norm;
pub mod layer_norm;
pub mod linear;
pub mod linear_attention;
pub mod mesa;
pub mod mesa_step;
pub mod one_hot;
pub mod pointwise;
pub mod recurrence_step;
pub mod repeat;
pub mod rms_norm;
pub mod rope;
pub mod s4d_scan;
pub mod s4d_step;
pub mod scale;
pub mod scan_step;
pub mod selective_scan;
pub mod short_conv;
pub mod skip;
pub mod slice;
pub mod ssm_gate;
pub mod swiglu;
pub mod window_accuracy;

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
    fn validate(&self) -> std::result::Result<(), UserError> {
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

/// An op's CPU twin (`cpu.rs`): readable loops, generic over f32 (the executor) and f64 (the oracle).
pub trait CpuOp: OpDef {
    /// Forward.
    fn cpu_fwd<R: Real>(&self, step: &StepParams, ins: &[In<'_, R>], outs: &mut [Out<'_, R>]);

    /// Backward: `ins` and `outs` of the forward call (`In::None` where not in `backward_reads`), gradients of the
    /// outputs, and where the gradients of the inputs go (`Out::None` where nobody wants one).
    fn cpu_bwd<R: Real>(
        &self,
        step: &StepParams,
        ins: &[In<'_, R>],
        outs: &[In<'_, R>],
        d_outs: &[In<'_, R>],
        d_ins: &mut [Out<'_, R>],
    );
}

/// An op's kernels (`gpu.rs`): which ones, in which order, with which grid.
#[cfg(feature = "gpu")]
pub trait GpuOp: OpDef {
    /// Forward.
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]);

    /// Backward; positions as in [`CpuOp::cpu_bwd`].
    fn gpu_bwd(
        &self,
        l: &mut Lower<'_>,
        ins: &[Option<View>],
        outs: &[Option<View>],
        d_outs: &[Option<View>],
        d_ins: &[Option<GpuOut>],
    );
}

/// The op list: one line an op.
macro_rules! ops {
    ($($module:ident :: $op:ident),* $(,)?) => {
        /// Every op, with its sizes.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Op {
            $(#[doc = concat!("See [`mod@", stringify!($module), "`].")] $op($module::$op),)*
        }

        $(impl From<$module::$op> for Op {
            fn from(op: $module::$op) -> Self {
                Self::$op(op)
            }
        })*

        /// The names of all ops.
        pub const NAMES: &[&str] = &[$(<$module::$op as OpDef>::NAME),*];

        /// Hostile shapes and values of all ops, for `check`.
        pub fn cases() -> Vec<Case> {
            [$($module::cases::cases()),*].concat()
        }

        /// Builds the op of a golden file's entry and returns its outputs under their names in the file, or `None` if
        /// no op knows the entry's name.
        pub fn golden(g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
            $(if let Some(outputs) = $module::cases::golden(g) {
                return Some(outputs);
            })*
            None
        }

        impl Op {
            /// See [`OpDef::NAME`].
            pub fn name(&self) -> &'static str {
                match self { $(Self::$op(_) => <$module::$op as OpDef>::NAME,)* }
            }
            /// See [`OpDef::validate`].
            pub fn validate(&self) -> std::result::Result<(), UserError> {
                match self { $(Self::$op(op) => op.validate(),)* }
            }
            /// See [`OpDef::inputs`].
            pub fn inputs(&self) -> Vec<Port> {
                match self { $(Self::$op(op) => op.inputs(),)* }
            }
            /// See [`OpDef::outputs`].
            pub fn outputs(&self) -> Vec<Port> {
                match self { $(Self::$op(op) => op.outputs(),)* }
            }
            /// See [`OpDef::backward_reads`].
            pub fn backward_reads(&self) -> Reads {
                match self { $(Self::$op(op) => op.backward_reads(),)* }
            }
            /// See [`OpDef::cost`].
            pub fn cost(&self, pass: Pass) -> Cost {
                match self { $(Self::$op(op) => op.cost(pass),)* }
            }
            /// See [`CpuOp::cpu_fwd`].
            pub fn cpu_fwd<R: Real>(&self, step: &StepParams, ins: &[In<'_, R>], outs: &mut [Out<'_, R>]) {
                match self { $(Self::$op(op) => op.cpu_fwd(step, ins, outs),)* }
            }
            /// See [`CpuOp::cpu_bwd`].
            pub fn cpu_bwd<R: Real>(
                &self,
                step: &StepParams,
                ins: &[In<'_, R>],
                outs: &[In<'_, R>],
                d_outs: &[In<'_, R>],
                d_ins: &mut [Out<'_, R>],
            ) {
                match self { $(Self::$op(op) => op.cpu_bwd(step, ins, outs, d_outs, d_ins),)* }
            }
            /// See [`GpuOp::gpu_fwd`].
            #[cfg(feature = "gpu")]
            pub fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
                match self { $(Self::$op(op) => op.gpu_fwd(l, ins, outs),)* }
            }
            /// See [`GpuOp::gpu_bwd`].
            #[cfg(feature = "gpu")]
            pub fn gpu_bwd(
                &self,
                l: &mut Lower<'_>,
                ins: &[Option<View>],
                outs: &[Option<View>],
                d_outs: &[Option<View>],
                d_ins: &[Option<GpuOut>],
            ) {
                match self { $(Self::$op(op) => op.gpu_bwd(l, ins, outs, d_outs, d_ins),)* }
            }
        }
    };
}

ops! {
    adam::Adam,
    add::Add,
    attention::Attention,
    attention_step::AttentionStep,
    conv_step::ConvStep,
    cross_entropy::CrossEntropy,
    decay_gate::DecayGate,
    delta_rule::DeltaRule,
    dropout::Dropout,
    fill::Fill,
    gelu_dropout::GeluDropout,
    glu::Glu,
    grad_norm::GradNorm,
    gru::Gru,
    gru_step::GruStep,
    head_loss::HeadLoss,
    l2_norm::L2Norm,
    layer_norm::LayerNorm,
    linear::Linear,
    linear_attention::LinearAttention,
    mesa::Mesa,
    mesa_step::MesaStep,
    one_hot::OneHot,
    pointwise::Pointwise,
    recurrence_step::RecurrenceStep,
    repeat::Repeat,
    rms_norm::RmsNorm,
    rope::Rope,
    s4d_scan::S4dScan,
    s4d_step::S4dStep,
    scale::Scale,
    scan_step::ScanStep,
    selective_scan::SelectiveScan,
    short_conv::ShortConv,
    skip::Skip,
    slice::Slice,
    ssm_gate::SsmGate,
    swiglu::SwiGlu,
    window_accuracy::WindowAccuracy,
}

/// Two-dimensional grid for `n` workgroups: WebGPU allows 65,535 a dimension. Kernels undo it with
/// `workgroup_index` of `shaders/lib/grid.wgsl` and must ignore the overhang.
pub fn grid_1d(n: usize) -> [u32; 3] {
    const MAX: usize = 32_768;
    let x = n.clamp(1, MAX);
    [x as u32, n.div_ceil(x) as u32, 1]
}

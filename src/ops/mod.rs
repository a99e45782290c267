//! The fixed op set. One folder per op holds its maths, shapes, cost, CPU twin, kernels' launch and tests.
//!
//! Adding an op: `docs/adding-an-op.md`.

use crate::error::UserError;
#[cfg(feature = "gpu")]
use crate::launch::{GpuOp, Lower, Views};
use crate::port::{Cost, OpDef, Pass, Port};
use crate::step::StepParams;
use crate::tensor::Precision;
use crate::twin::{CpuOp, Real, Slices};
#[cfg(feature = "gpu")]
use crate::variant::Variant;

mod chunks;
#[cfg(feature = "gpu")]
mod lanes;
pub(crate) mod reduce;
mod rows;

pub use chunks::Decay;

pub mod adam;
pub mod add;
pub mod attention;
pub mod attention_step;
pub mod cast;
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
pub mod projections;
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
pub mod spread;
pub mod ssm_gate;
pub mod swiglu;
pub mod window_accuracy;

/// The op list, one line an op, handed to another macro.
macro_rules! op_list {
    ($given_to:ident) => {
        $given_to! {
            adam::Adam,
            add::Add,
            attention::Attention,
            attention_step::AttentionStep,
            cast::Cast,
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
            projections::Projections,
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
            spread::Spread,
            ssm_gate::SsmGate,
            swiglu::SwiGlu,
            window_accuracy::WindowAccuracy,
        }
    };
}

pub mod cases;

/// An op over whole sequences whose step takes the same inputs, of one token: what a state of the step keeps is all that
/// the op knows of the tokens before.
pub trait OverTime: Into<Op> {
    /// The step.
    type Step: for<'a> From<&'a Self> + Into<Op>;
}

/// The op set as an enum that does what its members do.
macro_rules! op_enum {
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
            /// See [`OpDef::again`].
            pub fn again(&self) -> bool {
                match self { $(Self::$op(op) => op.again(),)* }
            }
            /// See [`OpDef::cost`].
            pub fn cost(&self, pass: Pass, precision: Precision) -> Cost {
                match self { $(Self::$op(op) => op.cost(pass, precision),)* }
            }
            /// See [`CpuOp::cpu_fwd`].
            pub fn cpu_fwd<R: Real>(&self, step: &StepParams, io: Slices<'_, R>) {
                match self { $(Self::$op(op) => op.cpu_fwd(step, io),)* }
            }
            /// See [`CpuOp::cpu_bwd`].
            pub fn cpu_bwd<R: Real>(&self, step: &StepParams, io: Slices<'_, R>) {
                match self { $(Self::$op(op) => op.cpu_bwd(step, io),)* }
            }
            /// See [`GpuOp::VARIANTS`].
            #[cfg(feature = "gpu")]
            pub fn variants(&self) -> &'static [Variant] {
                match self { $(Self::$op(_) => <$module::$op as GpuOp>::VARIANTS,)* }
            }
            /// See [`GpuOp::takes`].
            #[cfg(feature = "gpu")]
            pub fn takes(&self, variant: &Variant, pass: Pass, io: &Views) -> bool {
                match self { $(Self::$op(op) => op.takes(variant, pass, io),)* }
            }
            /// See [`GpuOp::gpu_fwd`].
            #[cfg(feature = "gpu")]
            pub fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
                match self { $(Self::$op(op) => op.gpu_fwd(l, io),)* }
            }
            /// See [`GpuOp::gpu_bwd`].
            #[cfg(feature = "gpu")]
            pub fn gpu_bwd(&self, l: &mut Lower<'_>, io: &Views) {
                match self { $(Self::$op(op) => op.gpu_bwd(l, io),)* }
            }
        }
    };
}

op_list!(op_enum);

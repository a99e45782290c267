//! The device that a run computes on.

use crate::cpu::CpuRuntime;
use crate::error::{Result, UserError};
#[cfg(feature = "gpu")]
use crate::gpu::GpuRuntime;
use crate::ops::Op;
use crate::runtime::Runtime;
use crate::tensor::Precision;

/// An executor of one kind or the other.
pub enum Executor {
    /// The CPU, in f32.
    Cpu(CpuRuntime<f32>),
    /// A GPU.
    #[cfg(feature = "gpu")]
    Gpu(Box<GpuRuntime>),
}

impl Executor {
    /// The CPU.
    pub fn cpu() -> Self {
        Self::Cpu(CpuRuntime::new())
    }

    /// The executor itself.
    pub fn runtime(&mut self) -> &mut dyn Runtime {
        match self {
            Self::Cpu(runtime) => runtime,
            #[cfg(feature = "gpu")]
            Self::Gpu(runtime) => &mut **runtime,
        }
    }

    /// The names of an op's kernel variants that run here, best first; none on the CPU, where an op has its twin alone.
    #[cfg_attr(
        not(feature = "gpu"),
        allow(unused_variables, reason = "only a GPU has kernels by name")
    )]
    pub fn offers(&self, op: &Op, precision: Precision) -> Vec<&'static str> {
        match self {
            Self::Cpu(_) => Vec::new(),
            #[cfg(feature = "gpu")]
            Self::Gpu(runtime) => runtime.offers(op, precision),
        }
    }

    /// How the device can store activations.
    pub fn precisions(&self) -> &'static [Precision] {
        match self {
            Self::Cpu(_) => &[Precision::F32],
            #[cfg(feature = "gpu")]
            Self::Gpu(runtime) => runtime.gpu().caps().precisions(),
        }
    }

    /// Refuses a precision that the device does not have.
    ///
    /// # Errors
    /// [`UserError::Value`].
    pub fn check(&self, precision: Precision) -> Result<()> {
        if self.precisions().contains(&precision) {
            return Ok(());
        }
        Err(UserError::Value {
            place: self.name(),
            field: "--precision".to_owned(),
            found: precision.to_string(),
            allowed: "auto or f32: mixed needs a GPU with 16-bit floats".to_owned(),
        }
        .into())
    }

    /// Lets every op that has a variant of this name run it, in what is loaded from now on.
    #[cfg_attr(
        not(feature = "gpu"),
        allow(unused_variables, reason = "only a GPU has kernels by name")
    )]
    pub fn force(&mut self, variant: &'static str) {
        match self {
            Self::Cpu(_) => {}
            #[cfg(feature = "gpu")]
            Self::Gpu(runtime) => runtime.force(Some(variant)),
        }
    }

    /// The device in words.
    pub fn name(&self) -> String {
        match self {
            Self::Cpu(runtime) => runtime.device(),
            #[cfg(feature = "gpu")]
            Self::Gpu(runtime) => runtime.device(),
        }
    }

    /// The driver of a GPU, in words.
    pub fn driver(&self) -> Option<String> {
        match self {
            Self::Cpu(_) => None,
            #[cfg(feature = "gpu")]
            Self::Gpu(runtime) => {
                let info = runtime.gpu().info();
                Some(format!("{} {}", info.driver, info.driver_info).trim().to_owned())
            }
        }
    }
}

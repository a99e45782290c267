//! The device that a run computes on.

use crate::cpu::CpuRuntime;
#[cfg(feature = "gpu")]
use crate::gpu::GpuRuntime;
use crate::runtime::Runtime;

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

    /// The device in words.
    pub fn name(&self) -> String {
        match self {
            Self::Cpu(runtime) => runtime.device(),
            #[cfg(feature = "gpu")]
            Self::Gpu(runtime) => runtime.device(),
        }
    }
}

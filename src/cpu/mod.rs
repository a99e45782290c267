//! The CPU executor: the same graph and plan as the GPU's, run by the ops' twins.

mod runtime;

pub use runtime::CpuRuntime;

//! Linear recurrent models and softmax attention: hand-written WGSL kernels, their CPU twins, a training engine
//! and the SelectivBench tasks.

pub mod bench;
pub mod cases;
pub mod check;
#[cfg(feature = "cli")]
pub mod cli;
pub mod config;
pub mod cpu;
pub mod error;
pub mod files;
#[cfg(feature = "gpu")]
pub mod gpu;
pub mod graph;
#[cfg(feature = "gpu")]
pub mod launch;
pub mod memory;
pub mod models;
pub mod ops;
pub mod philox;
pub mod plan;
pub mod port;
#[cfg(feature = "cli")]
pub mod report;
pub mod runtime;
#[cfg(feature = "gpu")]
pub mod shader;
pub mod stats;
pub mod step;
pub mod sweep;
pub mod tasks;
pub mod tensor;
#[cfg(test)]
mod testing;
pub mod train;
pub mod twin;
#[cfg(feature = "gpu")]
pub mod variant;

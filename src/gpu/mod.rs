//! Everything that touches a GPU: adapters and their choice, lowering of graphs to dispatches, and the executor.

pub mod adapter;
mod cache;
pub mod choice;
mod compiler;
mod device;
#[cfg(test)]
pub(crate) mod entry;
pub mod lower;
#[cfg(test)]
mod philox_tests;
mod pipeline;
#[cfg(test)]
mod portability_tests;
mod runtime;
mod selftest;
mod sums;
#[cfg(test)]
mod tests;

pub use device::{Gpu, Options};
pub use runtime::GpuRuntime;
pub use selftest::trusted;

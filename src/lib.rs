//! Linear recurrent models and softmax attention: hand-written WGSL kernels, their CPU twins, a training engine
//! and the SelectivBench tasks.

pub mod cli;
pub mod error;
pub mod tasks;

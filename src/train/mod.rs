//! Training: the loop, its checkpoints and its records.

pub mod checkpoint;
pub mod records;

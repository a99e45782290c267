//! Ops with data: hostile cases, timed shapes, golden entries as ops see them, random values, and errors against a reference.

pub mod bench;
mod case;
mod deviation;
mod golden;
mod random;

pub use case::{Case, Values, compare};
pub use deviation::{Deviation, FLOOR, Named, TOLERANCE_F32, TOLERANCE_MIXED};
pub use golden::Golden;
pub use random::Fill;

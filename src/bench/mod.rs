//! Microbenchmarks: one registry of ops and shapes, a runner for any executor, and the roof of the device at hand.
//!
//! `selectiv bench`, the criterion benches and `benches/side_by_side.py` all time what [`registry`] lists. How to
//! measure, and what the numbers mean: `docs/performance.md`.

mod fill;
mod registry;
mod report;
mod roof;
mod runner;
mod step;
#[cfg(test)]
mod tests;

pub use crate::cases::bench::{Bench, Family, Scale, Timed};
pub use registry::{names, registry, suite};
pub use report::{Comparison, Entry, Report, StepFacts, Verdict};
pub use roof::{DeviceClass, Roof, copy_rate};
pub use runner::{Prepared, Timing};
pub use step::{Floor, StepShape, time_step};

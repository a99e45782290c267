//! Training: updates, evaluations, checkpoints and records of a run.
//!
//! A [`Stepper`] makes updates on an [`Executor`]; a [`Session`] strings them together with evaluations and checkpoints
//! until the test, and tells a [`Watch`] about them.

pub mod ahead;
pub mod checkpoint;
pub mod claim;
mod decode;
mod device;
mod divergence;
mod evaluate;
mod executor;
pub mod explain;
mod feed;
mod fit;
pub mod folder;
mod gates;
mod lengths;
mod recorder;
pub mod records;
mod run;
mod schedule;
mod session;
pub mod setup;
mod stepper;
mod target;
pub mod weights;

pub use decode::{Decoded, decode};
pub use device::device_names;
pub use evaluate::{Evaluator, GoOn, Score, until};
pub use executor::Executor;
pub use feed::fed_by;
pub(crate) use feed::write_inputs;
pub(crate) use fit::keep_to_cap;
pub use gates::{GateMean, GateReader, gate_means};
pub use recorder::Recorder;
pub use run::{Counting, run_result};
pub use schedule::Schedule;
pub use session::{Counters, Device, Machine, Outcome, Row, Saved, Session, Setup, State, Watch};
pub use stepper::{CallTime, LossScale, Recipe, StepReport, Stepper, Weights};
pub use target::{Existing, Target};

//! Grids of runs: a file says which, a folder holds what has become of them, and any number of processes fill it.
//!
//! [`Plan`] lists the runs of a sweep file ([`mod@file`]) or folder; [`run`] makes what is missing, on all devices at once;
//! [`tables`] and [`Summary`] say what came out. The disk is the truth: whatever is killed and started again goes on from
//! what lies there, and runs are claimed one by one, so that processes share a sweep.

mod budget;
mod details;
mod estimate;
pub mod file;
mod grid;
mod job;
mod plan;
mod shared;
pub mod slurm;
mod summary;
pub mod tables;
mod work;

pub use details::{DETAILS_FILE, Details, GapTest, Tested};
pub use estimate::{Estimate, estimate};
pub use file::Keep;
pub use grid::PlannedRun;
pub use plan::{PLAN_FILE, Plan, Status, run_folder, status};
pub use shared::state_bytes;
pub use summary::{Cell, Comparison, Summary};
pub use work::{Ended, Options, Totals, WorkerTime, run};

use crate::error::Error;

/// What happens in a sweep.
#[derive(Debug)]
pub enum Event<'a> {
    /// A run begins, or goes on.
    Began(&'a PlannedRun),
    /// A run speaks.
    Said(&'a PlannedRun, &'a str),
    /// An update's numbers have arrived.
    Updated {
        /// The run.
        run: &'a PlannedRun,
        /// Updates done.
        done: u64,
        /// Updates in all.
        steps: u64,
        /// Time steps with a target, a second.
        tokens_per_s: f64,
        /// The last evaluation's.
        accuracy: Option<f64>,
    },
    /// A run is trained; the n-gram predictors are still being counted.
    Counting {
        /// The run.
        run: &'a PlannedRun,
        /// Training samples counted.
        done: u64,
        /// All that will be.
        samples: u64,
    },
    /// A run is done.
    Ended(&'a PlannedRun, &'a Status),
    /// A run ended without a result.
    Left(&'a PlannedRun, &'a Error),
    /// A worker has nothing more to do, or cannot go on.
    Closed(Option<&'a Error>),
}

/// Hears what happens, from several threads.
pub trait Report: Sync {
    /// `worker` counts the devices from 0.
    fn event(&self, worker: usize, event: Event<'_>);
}

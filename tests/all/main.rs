//! Tests of the library and the program from outside. One binary: it is the library that takes long to link.

#![allow(clippy::unwrap_used, reason = "a failing step of a test may panic")]

mod docs;
mod examples;
mod fuzz;
mod rooms;

// These run the program.
#[cfg(feature = "cli")]
mod bench;
#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "cli")]
mod common;
#[cfg(feature = "cli")]
mod identity;
#[cfg(all(feature = "cli", feature = "gpu"))]
mod mixed;
#[cfg(feature = "cli")]
mod older_runs;
#[cfg(feature = "cli")]
mod python;
#[cfg(feature = "cli")]
mod reference;
#[cfg(feature = "cli")]
mod report;
#[cfg(feature = "cli")]
mod sizes;
#[cfg(feature = "cli")]
mod sweep;
#[cfg(feature = "cli")]
mod tasks;
#[cfg(feature = "cli")]
mod train;
#[cfg(all(feature = "cli", unix))]
mod trouble;
#[cfg(feature = "cli")]
mod weights;

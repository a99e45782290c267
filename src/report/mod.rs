//! One page of runs, sweeps, benches and checks: what came out, whether it can be trusted, what it cost.
//!
//! [`Material`] reads folders and files, [`Groups`] puts runs together that differ in the seed alone, the other modules
//! compute tables and charts from both, [`page()`] and [`plots()`] write them. Nothing here prints.

mod atlas;
mod cards;
mod chart;
mod costs;
mod difficulty;
pub mod format;
mod groups;
mod head;
mod heat;
mod interactive;
mod learning;
mod pack;
mod page;
mod paper;
mod plots;
mod rows;
pub mod run;
mod source;
mod style;
mod svg;
mod table;
#[cfg(test)]
mod testing;
mod thin;
mod times;

pub use groups::{Cell, Fields, Groups, Setting, Variant};
pub use page::page;
pub use plots::plots;
pub use source::{BenchFile, CheckFile, Material, SweepFolder, run_folders};

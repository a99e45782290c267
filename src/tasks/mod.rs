//! The `SelectivBench` tasks: grammars, the sequences they make, batches for training, and what can be
//! reached on them.
//!
//! Everything down to the random bits is in [docs/tasks.md], whose sections the comments of this crate cite.
//!
//! [docs/tasks.md]: https://github.com/selectiv/selectiv/blob/main/docs/tasks.md
//!
//! Data flow: a [`GrammarSpec`] makes a [`Grammar`]; a [`DataSet`] draws samples from it, each from its own
//! random stream; a [`Loader`] makes batches of them ahead in the background; [`DataSet::statistics`] says
//! what chance, an n-gram predictor and the ideal observer reach on its test samples.

pub mod batch;
pub mod data;
pub mod exchange;
pub mod gap;
pub mod golden;
pub mod grammar;
pub mod loader;
pub mod measures;
pub mod ngram;
pub mod observer;
pub mod reach;
pub mod sample;
pub mod sequence;
pub mod spec;
pub mod statistics;
pub mod stored;
pub mod streams;

pub use batch::{Batch, IGNORE, NO_SYMBOL};
pub use data::DataSet;
pub use gap::{Gap, STEP_S, TestGaps};
pub use grammar::{Grammar, GrammarSpec};
pub use loader::Loader;
pub use sample::Sample;
pub use spec::{DataSpec, Split, Splits, Targets};
pub use statistics::{Counted, Statistics};

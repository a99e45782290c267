//! The SelectivBench tasks: grammars and the random streams that define them.

pub mod grammar;
pub mod streams;

pub use grammar::{Grammar, GrammarSpec};

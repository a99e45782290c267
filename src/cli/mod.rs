//! The command line: arguments, progress and printing.

pub mod grammar;

//! The SelectivBench tasks.

//! What is timed: what the ops state (`benches` of their `cases.rs`).

use crate::cases::bench::{Bench, Scale};
use crate::ops;

/// Every bench, the suites included.
pub fn registry(scale: Scale) -> Vec<Bench> {
    ops::cases::benches(scale)
}

/// The fixed suite of that name.
pub fn suite(name: &str, scale: Scale) -> Option<Vec<Bench>> {
    let mut all = registry(scale);
    all.retain(|bench| bench.suite == Some(name));
    (!all.is_empty()).then_some(all)
}

/// What `--op` understands: every op, and the kinds that have names of their own.
pub fn names() -> Vec<&'static str> {
    let kinds = registry(Scale(1)).into_iter().map(|b| b.kind);
    let mut names: Vec<&str> = ops::NAMES.iter().copied().chain(kinds).collect();
    names.sort_unstable();
    names.dedup();
    names
}

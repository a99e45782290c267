//! Says which test does not run here, and why.

#[allow(clippy::disallowed_macros, reason = "a test says what it left out")]
pub(crate) fn skipped(test: &str, why: &str) {
    eprintln!("skipped {test}: {why}");
}

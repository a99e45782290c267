//! The one place that writes to standard output and standard error.
//!
//! What nobody can read any more is no failure: a message that cannot be written is dropped, and a reader of results
//! that has closed its end (`| head`), or a terminal that has gone, ends the printing quietly. A result that cannot be
//! written for another reason, such as a full disk, is an error.

#![allow(clippy::disallowed_methods, reason = "this is the one place")]

use crate::error::{Error, Result};
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

/// Room for a part of a long result.
const BUFFER_BYTES: usize = 1 << 16;

/// Whether standard output was a terminal when the program began: one that has gone no longer says so.
static TERMINAL: OnceLock<bool> = OnceLock::new();

/// Notes what standard output is. Called before anything is printed.
pub(super) fn begin() {
    TERMINAL.get_or_init(|| io::stdout().is_terminal());
}

/// Prints a result and a line end to standard output.
///
/// # Errors
/// [`Error::Io`] if it cannot be written although somebody would read it.
pub(super) fn result(text: &str) -> Result<()> {
    stream(|out| writeln!(out, "{text}").map_err(failed))
}

/// Prints a result piece by piece.
///
/// # Errors
/// Those of `write`, but for a reader that has gone; [`Error::Io`].
pub(super) fn stream(write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut out = io::BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock());
    let written = write(&mut out).and_then(|()| out.flush().map_err(failed));
    match written {
        Err(Error::Io { source, .. }) if nobody_reads(&source) => {
            // What is left in the buffer has no reader either.
            drop(out.into_parts());
            Ok(())
        }
        written => written,
    }
}

/// Prints a line to standard error, for a person to read.
pub(super) fn message(text: &str) {
    // Work does not end because nobody watches it.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether messages go to a terminal.
pub(super) fn messages_on_terminal() -> bool {
    io::stderr().is_terminal()
}

/// The error of a write to standard output.
pub(super) fn failed(source: io::Error) -> Error {
    Error::Io {
        action: "write",
        path: "standard output".into(),
        source,
    }
}

fn nobody_reads(error: &io::Error) -> bool {
    // A terminal that has gone answers EIO, which has no kind of its own.
    error.kind() == io::ErrorKind::BrokenPipe
        || (TERMINAL.get() == Some(&true) && error.raw_os_error().is_some())
}

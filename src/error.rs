//! Every way a call can fail, split by who can act on it.

use std::path::PathBuf;

/// What the library returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Any failure, with the exit code that the program gives it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input is wrong; the user can fix it.
    #[error(transparent)]
    User(#[from] UserError),
    /// The machine or its driver failed or is too small.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The numbers went wrong.
    #[error(transparent)]
    Numeric(#[from] NumericError),
    /// Reading or writing a file failed.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was being done, such as `write`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// Stopped by Ctrl-C or SIGTERM after a checkpoint.
    #[error("stopped by a signal; continue with --resume")]
    Interrupted,
}

impl Error {
    /// 1: it ran and the answer is bad; 2: bad input; 3: the machine failed; 130: stopped by a signal.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::User(_) => 2,
            Self::Device(_) | Self::Io { .. } => 3,
            Self::Numeric(_) => 1,
            Self::Interrupted => 130,
        }
    }
}

/// Bad input. Nothing has been written when one of these is returned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// A field, flag or argument whose value is not allowed.
    #[error("{place}: {field} = {found}: allowed: {allowed}")]
    Value {
        /// The file (with `:line` where known) or `command line`.
        place: String,
        /// The field as the user writes it, such as `grammar.depth`.
        field: String,
        /// What was given.
        found: String,
        /// What is allowed.
        allowed: String,
    },
    /// A file that cannot be read as what it should be. The message carries line and column.
    #[error("{place}: {message}")]
    Malformed {
        /// The file, or `command line`.
        place: String,
        /// What is wrong and where.
        message: String,
    },
    /// A name that nothing answers to.
    #[error("unknown {what} `{name}`: allowed: {allowed}")]
    Unknown {
        /// `model`, `device`, ...
        what: &'static str,
        /// What was given.
        name: String,
        /// The list of names.
        allowed: String,
    },
    /// An op or model that cannot have this shape.
    #[error("{op}: {reason}")]
    Shape {
        /// The op or model.
        op: &'static str,
        /// Which sizes, and what is allowed.
        reason: String,
    },
    /// A run folder or file in a state that forbids the request.
    #[error("{path}: {reason}", path = path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// What is there and what to do.
        reason: String,
    },
}

/// The adapter, its driver or its memory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// Nothing to run on.
    #[error("no GPU adapter: looked for {looked_for}; {hint}")]
    NoAdapter {
        /// The backends tried.
        looked_for: String,
        /// How to get one.
        hint: String,
    },
    /// A limit of the adapter is too small.
    #[error("{adapter}: {limit} is {available}, {needed} needed for {what}")]
    Limit {
        /// The adapter's name.
        adapter: String,
        /// The limit's name.
        limit: &'static str,
        /// What the work needs.
        needed: u64,
        /// What the adapter has.
        available: u64,
        /// The op or tensor.
        what: String,
    },
    /// The driver refused or broke.
    #[error("{adapter}: {message}")]
    Driver {
        /// The adapter's name.
        adapter: String,
        /// The driver's message.
        message: String,
    },
}

/// A value that is not a number, or not finite.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NumericError {
    /// The first tensor of a training step that is not finite.
    #[error(
        "step {step}: {tensor} is not finite first at element {index}; last good checkpoint: {checkpoint}"
    )]
    NotFinite {
        /// The update.
        step: u64,
        /// Op and tensor.
        tensor: String,
        /// The first element that is not finite.
        index: usize,
        /// The checkpoint to go back to, or `none`.
        checkpoint: String,
    },
}

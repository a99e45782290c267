//! Every way a call can fail, split by who can act on it.

use std::fmt;
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
    /// Another process has taken over the folder that this one worked in; this one has stopped writing there.
    #[error("{path}: taken over by {by} while this process was not heard of for a minute", path = path.display())]
    ClaimLost {
        /// The folder.
        path: PathBuf,
        /// Its holder now.
        by: String,
    },
    /// Stopped by Ctrl-C or SIGTERM after a checkpoint.
    #[error("stopped by a signal; continue with --resume")]
    Interrupted,
    /// A sweep was stopped by Ctrl-C or SIGTERM, after checkpoints of the runs that it was at.
    #[error("stopped by a signal; continue with `selectiv sweep {}`", folder.display())]
    SweepInterrupted {
        /// The sweep's folder.
        folder: PathBuf,
    },
    /// Stopped by Ctrl-C or SIGTERM in work that leaves nothing behind to continue.
    #[error("{0} was stopped by a signal; what was done until then is all there is")]
    Stopped(&'static str),
}

impl From<OutOfMemory> for Error {
    fn from(error: OutOfMemory) -> Self {
        Self::Device(error.into())
    }
}

impl Error {
    /// Whether fewer samples at a time may do: there was no room, or an op has no such sizes.
    pub fn is_too_large(&self) -> bool {
        matches!(
            self,
            Self::Device(DeviceError::OutOfMemory(_)) | Self::User(UserError::Shape { .. })
        )
    }

    /// 1: it ran and the answer is bad; 2: bad input, or what the plan shows not to fit; 3: the machine failed; 130: stopped by a signal.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::User(_) => 2,
            Self::Device(DeviceError::OutOfMemory(e)) if e.foreseen() => 2,
            Self::Device(_) | Self::Io { .. } | Self::ClaimLost { .. } => 3,
            Self::Numeric(_) => 1,
            Self::Interrupted | Self::SweepInterrupted { .. } | Self::Stopped(_) => 130,
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
    /// Tensors that are not those that an op of these sizes takes: their number, extents or type.
    #[error("{op}: {reason}")]
    Operands {
        /// The op.
        op: &'static str,
        /// Which tensor, what it is and what the op takes.
        reason: String,
    },
    /// A folder that another process works in.
    #[error("{path}: in use by {by}", path = path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The process, and its host if that is another one.
        by: String,
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
    /// Something is larger than what there is room for.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// The system starts no threads.
    #[error("no threads to compute on: {reason}")]
    Threads {
        /// The system's reason.
        reason: String,
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

/// Bytes that are not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{device}: {what}{}; {room}", Taken(*needed, room.bytes()))]
pub struct OutOfMemory {
    /// The device, or the program's own memory.
    pub device: String,
    /// The tensor, launch or buffer.
    pub what: String,
    /// Bytes that it takes; 0: a driver does not tell.
    pub needed: u64,
    /// What there is instead.
    pub room: Room,
}

impl OutOfMemory {
    /// Whether it was refused because of a limit that is known, before anything was allocated.
    pub fn foreseen(&self) -> bool {
        self.room != Room::Free(None)
    }
}

/// Which limit was met, and its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Free memory, where the driver tells.
    Free(Option<u64>),
    /// All memory that a device has of its own.
    Own(u64),
    /// What a kernel can be given at a time.
    Binding(u64),
    /// What a buffer can hold.
    Buffer(u64),
    /// What kernels can index.
    Index(u64),
    /// A cap of this program's choice, for what is no faster if it is larger.
    Chosen(u64),
}

impl Room {
    /// The limit, where it is known.
    fn bytes(self) -> Option<u64> {
        match self {
            Self::Free(bytes) => bytes,
            Self::Own(bytes)
            | Self::Binding(bytes)
            | Self::Buffer(bytes)
            | Self::Index(bytes)
            | Self::Chosen(bytes) => Some(bytes),
        }
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Free(Some(bytes)) => write!(f, "{} of memory are free", Bytes(bytes)),
            Self::Free(None) => f.write_str("its memory is full"),
            Self::Own(bytes) => write!(f, "it has {} of memory", Bytes(bytes)),
            Self::Binding(bytes) => write!(f, "a kernel can be given {} at a time", Bytes(bytes)),
            Self::Buffer(bytes) => write!(f, "a buffer holds {} at most", Bytes(bytes)),
            Self::Index(bytes) => write!(f, "kernels index {} at most", Bytes(bytes)),
            Self::Chosen(bytes) => write!(
                f,
                "{} at a time is a chosen cap, more is no faster on a CPU",
                Bytes(bytes)
            ),
        }
    }
}

/// What something takes, where it is known, and the limit, where that is.
struct Taken(u64, Option<u64>);

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let &Self(bytes, limit) = self;
        if bytes == 0 {
            return Ok(());
        }
        let words = Bytes(bytes).to_string();
        write!(f, " takes {words}")?;
        match limit {
            Some(limit) if bytes > limit && Bytes(limit).to_string() == words => {
                write!(f, ", {} bytes too many", bytes - limit)
            }
            _ => Ok(()),
        }
    }
}

/// A number of bytes, in words.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let unit = (self.0.max(1).ilog2() / 10) as usize;
        match unit.checked_sub(1) {
            None => write!(f, "{} bytes", self.0),
            Some(i) => write!(
                f,
                "{:.1} {}",
                self.0 as f64 / f64::powi(1024.0, unit as i32),
                UNITS[i]
            ),
        }
    }
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
    /// A tensor that is not finite on samples that a trained model is tested on.
    #[error("{split} samples: {tensor} is not finite first at element {index}: the numbers have gone wrong")]
    NotFiniteInTest {
        /// What the samples are for.
        split: String,
        /// Op and tensor.
        tensor: String,
        /// The first element that is not finite.
        index: usize,
    },
    /// A loss that says that training went wrong although every number is finite.
    #[error(
        "diverged: the test loss is {loss}, above 2 ln(classes) = {limit}; a lower learning rate may help"
    )]
    Diverged {
        /// The mean cross entropy on the test samples, in nats.
        loss: String,
        /// The most that is no divergence.
        limit: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_which_limit_was_met() {
        let error = |room| {
            let (device, what) = ("CPU".to_owned(), "the batch".to_owned());
            OutOfMemory {
                device,
                what,
                needed: 3 << 29,
                room,
            }
            .to_string()
        };
        assert_eq!(
            error(Room::Free(Some(900))),
            "CPU: the batch takes 1.5 GiB; 900 bytes of memory are free"
        );
        assert_eq!(
            error(Room::Free(None)),
            "CPU: the batch takes 1.5 GiB; its memory is full"
        );
        assert_eq!(
            error(Room::Own(1 << 30)),
            "CPU: the batch takes 1.5 GiB; it has 1.0 GiB of memory"
        );
        assert!(error(Room::Binding(128 << 20)).ends_with("a kernel can be given 128.0 MiB at a time"));
        assert_eq!(
            error(Room::Binding((3 << 29) - 4)),
            "CPU: the batch takes 1.5 GiB, 4 bytes too many; a kernel can be given 1.5 GiB at a time"
        );
        assert!(error(Room::Chosen(u64::MAX)).contains("16.0 EiB at a time is a chosen cap"));
    }
}

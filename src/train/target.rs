//! Where a file that a user names may be written.

use super::folder::{is_in_run, is_run_file};
use super::records::atomic;
use crate::error::{Error, Result, UserError};
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Links that are followed one after the other.
const MOST_LINKS: usize = 40;

/// A place that was looked at and may be written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A regular file, there or not yet: it appears whole or not at all.
    File(PathBuf),
    /// A device, a pipe: bytes are written into it.
    Stream(PathBuf),
}

/// What becomes of a file that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It is replaced.
    Replaced,
    /// It stays, and this is what to do about it.
    Kept(&'static str),
}

impl Target {
    /// Looks at a place. Links are followed; what is no regular file is written into. The files that a run keeps in its
    /// folder stay; those of `runs` under any name.
    ///
    /// # Errors
    /// [`UserError::Folder`] for a folder, a file of a run, and a file that is there and is to be kept.
    pub fn new<'a>(
        path: &Path,
        existing: Existing,
        runs: impl IntoIterator<Item = &'a Path>,
    ) -> Result<Self> {
        let refuse = |reason: &str| -> Error {
            let (path, reason) = (path.to_owned(), reason.to_owned());
            UserError::Folder { path, reason }.into()
        };
        let file = match std::fs::metadata(path) {
            Ok(found) if found.is_dir() => return Err(refuse("is a folder; name a file")),
            Ok(found) if !found.is_file() => return Ok(Self::Stream(path.to_owned())),
            Ok(_) => std::fs::canonicalize(path).map_err(|e| refuse(&e.to_string()))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                follow(path).ok_or_else(|| refuse("has too many links"))?
            }
            Err(e) => return Err(refuse(&e.to_string())),
        };
        if is_in_run(&file) || runs.into_iter().any(|run| is_run_file(run, &file)) {
            return Err(refuse("is one of the run's own files; choose another name"));
        }
        match existing {
            Existing::Kept(hint) if file.exists() => Err(refuse(&format!("is there already; {hint}"))),
            _ => Ok(Self::File(file)),
        }
    }

    /// Whether it is a device or a pipe: standard output itself, perhaps.
    pub fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        self.write_by(|out| out.write_all(bytes))
    }

    /// Writes what `write` does.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_by(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
        match self {
            Self::File(path) => atomic::replace(path, write),
            Self::Stream(path) => {
                let written = OpenOptions::new().write(true).open(path).and_then(|stream| {
                    let mut out = BufWriter::new(stream);
                    write(&mut out).and_then(|()| out.flush())
                });
                written.map_err(|source| Error::Io {
                    action: "write",
                    path: path.clone(),
                    source,
                })
            }
        }
    }
}

/// Where links that lead to nothing yet would lead.
fn follow(path: &Path) -> Option<PathBuf> {
    let mut at = path.to_owned();
    for _ in 0..MOST_LINKS {
        match std::fs::read_link(&at) {
            Ok(to) => at = at.parent().unwrap_or(Path::new("")).join(to),
            Err(_) => return Some(at),
        }
    }
    None
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{FileTypeExt, symlink};

    const KEPT: Existing = Existing::Kept("--force overwrites it");

    #[test]
    fn links_are_followed_and_stay() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let run = at("run");
        fs::create_dir(&run).unwrap();
        fs::write(at("old"), "old").unwrap();
        symlink("old", at("link")).unwrap();
        symlink("link", at("far")).unwrap();
        symlink("new", at("dangling")).unwrap();
        assert!(
            Target::new(&at("far"), KEPT, [&*run])
                .unwrap_err()
                .to_string()
                .contains("--force")
        );
        Target::new(&at("far"), Existing::Replaced, [&*run])
            .unwrap()
            .write(b"1")
            .unwrap();
        Target::new(&at("dangling"), KEPT, [&*run])
            .unwrap()
            .write(b"2")
            .unwrap();
        assert_eq!(
            (fs::read(at("old")).unwrap(), fs::read(at("new")).unwrap()),
            (b"1".to_vec(), b"2".to_vec())
        );
        for link in ["link", "far", "dangling"] {
            assert!(at(link).symlink_metadata().unwrap().is_symlink());
        }
        symlink("loop", at("loop")).unwrap();
        assert!(Target::new(&at("loop"), KEPT, [&*run]).is_err());
        assert!(
            Target::new(dir.path(), Existing::Replaced, [&*run])
                .unwrap_err()
                .to_string()
                .contains("folder")
        );
    }

    #[test]
    fn devices_stay_devices() {
        let null = Path::new("/dev/null");
        Target::new(null, KEPT, []).unwrap().write(b"gone").unwrap();
        assert!(null.metadata().unwrap().file_type().is_char_device());
    }

    #[test]
    fn a_runs_own_files_are_refused_under_any_name() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path();
        fs::write(run.join("config.toml"), "").unwrap();
        fs::write(run.join("checkpoint-00000005.safetensors"), "").unwrap();
        symlink("checkpoint-00000005.safetensors", run.join("link")).unwrap();
        fs::hard_link(run.join("config.toml"), run.join("same")).unwrap();
        for name in [
            "config.toml",
            "checkpoint-00000005.safetensors",
            "checkpoint-00000009.safetensors",
            "link",
            "same",
        ] {
            let error = Target::new(&run.join(name), Existing::Replaced, [run]).unwrap_err();
            assert!(error.to_string().contains("own files"), "{name}: {error}");
        }
        assert!(Target::new(&run.join("weights.safetensors"), KEPT, [run]).is_ok());
        // Of a run that was not named, what lies under its own name.
        assert!(Target::new(&run.join("metrics.jsonl"), Existing::Replaced, []).is_err());
        let elsewhere = tempfile::tempdir().unwrap();
        assert!(Target::new(&elsewhere.path().join("metrics.jsonl"), Existing::Replaced, []).is_ok());
    }
}

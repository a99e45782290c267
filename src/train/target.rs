//! Where a file that a user names may be written.

use super::folder::is_run_file;
use super::records::atomic;
use crate::error::{Error, Result, UserError};
use std::fs::OpenOptions;
use std::io::{self, Write};
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

impl Target {
    /// Looks at a place. Links are followed; what is no regular file is written into. `run` is a folder whose own files
    /// must stay.
    ///
    /// # Errors
    /// [`UserError::Folder`] for a folder, a file of the run, and a file that is there unless `overwrite` is set.
    pub fn new(path: &Path, overwrite: bool, run: &Path) -> Result<Self> {
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
        if is_run_file(run, &file) {
            return Err(refuse("is one of the run's own files; choose another name"));
        }
        if file.exists() && !overwrite {
            return Err(refuse("is there already; --force overwrites it"));
        }
        Ok(Self::File(file))
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::File(path) => atomic::replace(path, |out| out.write_all(bytes)),
            Self::Stream(path) => {
                let opened = OpenOptions::new().write(true).open(path);
                let written = opened.and_then(|mut stream| stream.write_all(bytes));
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
            Target::new(&at("far"), false, &run)
                .unwrap_err()
                .to_string()
                .contains("--force")
        );
        Target::new(&at("far"), true, &run).unwrap().write(b"1").unwrap();
        Target::new(&at("dangling"), false, &run)
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
        assert!(Target::new(&at("loop"), false, &run).is_err());
        assert!(
            Target::new(dir.path(), true, &run)
                .unwrap_err()
                .to_string()
                .contains("folder")
        );
    }

    #[test]
    fn devices_stay_devices() {
        let run = tempfile::tempdir().unwrap();
        let null = Path::new("/dev/null");
        Target::new(null, false, run.path())
            .unwrap()
            .write(b"gone")
            .unwrap();
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
            let error = Target::new(&run.join(name), true, run).unwrap_err();
            assert!(error.to_string().contains("own files"), "{name}: {error}");
        }
        assert!(Target::new(&run.join("weights.safetensors"), false, run).is_ok());
    }
}

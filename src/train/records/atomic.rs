//! Files that appear whole or not at all.

use crate::error::{Error, Result};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Writes `path` so that a reader, or whoever comes after a kill or a power cut, finds the old file or the new one,
/// never a part: into a hidden sibling `.NAME.*.tmp`, flushed to the disk, renamed over `path`, and the folder
/// flushed. A failure removes the sibling and leaves `path` as it was; only a kill leaves the sibling behind, and
/// the next write of the same file removes it. One process may write to a folder at a time.
///
/// # Errors
/// [`Error::Io`] with the operating system's reason.
pub(crate) fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    replace_through(path, |file| file, write)
}

/// [`replace`], with the file's writer wrapped: the tests put a disk that runs full in between.
pub(crate) fn replace_through<W: Write>(
    path: &Path,
    wrap: impl FnOnce(File) -> W,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let failed = |source| Error::Io {
        action: "write",
        path: path.to_owned(),
        source,
    };
    let folder = folder_of(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let prefix = format!(".{name}.");
    remove_stale(folder, &prefix);

    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".tmp");
    // tempfile's own 0600 would keep a run's folder from being shared; the umask still applies.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let temporary = builder.tempfile_in(folder).map_err(failed)?;

    let file = temporary.as_file().try_clone().map_err(failed)?;
    let mut out = BufWriter::with_capacity(1 << 20, wrap(file));
    write(&mut out).and_then(|()| out.flush()).map_err(failed)?;
    drop(out);
    temporary.as_file().sync_all().map_err(failed)?;
    temporary.persist(path).map_err(|e| failed(e.error))?;
    sync_folder(folder).map_err(failed)
}

/// Removes what writers that were killed left in a folder: the files `PREFIX*.tmp`.
pub(crate) fn remove_stale(folder: &Path, prefix: &str) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(prefix) && name.ends_with(".tmp") {
            // Litter that cannot be removed harms nobody.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Makes a rename in the folder survive a power cut, where the system can do that.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(windows) {
        return Ok(());
    }
    match File::open(folder)?.sync_all() {
        // Some network and user-space file systems know no flush of a folder.
        Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn replaces_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        for text in ["one", "two"] {
            replace(&path, |w| w.write_all(text.as_bytes())).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(names(folder.path()), ["a.json"]);
    }

    #[test]
    fn a_failed_write_keeps_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        std::fs::write(&path, "old").unwrap();
        let error = replace(&path, |w| {
            w.write_all(b"half")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(error.unwrap_err().exit_code(), 3);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(folder.path()), ["a.json"]);
        assert!(replace(&folder.path().join("none/a.json"), |_| Ok(())).is_err());
    }

    #[test]
    fn removes_the_litter_of_a_killed_writer_of_the_same_file_only() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".a.json.x1.tmp", ".b.json.x2.tmp", "a.json.tmp"] {
            std::fs::write(folder.path().join(name), "half").unwrap();
        }
        replace(&folder.path().join("a.json"), |w| w.write_all(b"new")).unwrap();
        assert_eq!(names(folder.path()), [".b.json.x2.tmp", "a.json", "a.json.tmp"]);
    }

    #[test]
    #[cfg(unix)]
    fn others_may_read_the_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("plain");
        std::fs::write(&plain, "").unwrap();
        let path = folder.path().join("a.json");
        replace(&path, |_| Ok(())).unwrap();
        let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode();
        assert_eq!(mode(&path), mode(&plain));
    }
}

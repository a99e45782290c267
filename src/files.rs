//! Reading files of which nobody knows how large they are, or whether they end; names for what is damaged.

use crate::memory;
use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result};
use std::path::{Path, PathBuf};

/// Most bytes of what is no regular file: a pipe or a device has no size to ask for.
const MOST_OF_A_STREAM: u64 = 1 << 30;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A free name beside a file, for what was found in its place: the file's and `.damaged`, or `.damaged-2` ..
pub(crate) fn beside(path: &Path) -> PathBuf {
    let name = |n: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(".damaged");
        if n > 1 {
            name.push(format!("-{n}"));
        }
        PathBuf::from(name)
    };
    let free = (1..).map(name).find(|name| name.symlink_metadata().is_err());
    free.expect("some number is free")
}

/// A file of at most so many bytes: settings, tables, indices.
///
/// # Errors
/// The system's; [`ErrorKind::FileTooLarge`] and [`ErrorKind::OutOfMemory`] say what is allowed.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let file = File::open(path)?;
    let known = file.metadata()?;
    let too_large = || {
        let text = format!("it is larger than {} MiB", most >> 20);
        Error::new(ErrorKind::FileTooLarge, text)
    };
    if known.is_file() {
        if known.len() > most {
            return Err(too_large());
        }
        ask(known.len())?;
    }
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(too_large());
    }
    Ok(bytes)
}

/// A text of at most so many bytes, without the byte order mark that editors and shells of some systems begin it with.
///
/// # Errors
/// As [`read`]; [`ErrorKind::InvalidData`] if it is not UTF-8.
pub fn read_text(path: &Path, most: u64) -> Result<String> {
    let mut bytes = read(path, most)?;
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    String::from_utf8(bytes).map_err(|e| Error::new(ErrorKind::InvalidData, e))
}

/// A file of tensors: as large as memory allows if its size is known. `copies` is how many times its bytes will be in
/// memory at once.
///
/// # Errors
/// As [`read`].
pub fn read_large(path: &Path, copies: u64) -> Result<Vec<u8>> {
    let known = std::fs::metadata(path)?;
    if !known.is_file() {
        return read(path, MOST_OF_A_STREAM);
    }
    ask(known.len().saturating_mul(copies))?;
    read(path, u64::MAX)
}

fn ask(bytes: u64) -> Result<()> {
    memory::ask("this file", bytes).map_err(|e| Error::new(ErrorKind::OutOfMemory, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_up_to_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, [7; 100]).unwrap();
        assert_eq!(read(&path, 100).unwrap(), [7; 100]);
        assert_eq!(read_large(&path, 3).unwrap(), [7; 100]);
        assert_eq!(read(&path, 99).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert_eq!(read_text(&path, 100).unwrap().len(), 100);
        std::fs::write(&path, "\u{feff}text").unwrap();
        assert_eq!(read_text(&path, 100).unwrap(), "text");
        std::fs::write(&path, [0xff; 4]).unwrap();
        assert_eq!(read_text(&path, 100).unwrap_err().kind(), ErrorKind::InvalidData);
        assert_eq!(
            read(&dir.path().join("none"), 1).unwrap_err().kind(),
            ErrorKind::NotFound
        );
    }

    /// A file with a hole of 8 EiB, and one that never ends.
    #[cfg(target_os = "linux")]
    #[test]
    fn what_no_memory_holds_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sparse");
        File::create(&path).unwrap().set_len(1 << 42).unwrap();
        assert_eq!(read_large(&path, 1).unwrap_err().kind(), ErrorKind::OutOfMemory);
        let zero = Path::new("/dev/zero");
        assert_eq!(read(zero, 1 << 20).unwrap_err().kind(), ErrorKind::FileTooLarge);
    }
}

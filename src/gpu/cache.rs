//! What is kept on disk per adapter, driver and program version, in the user's cache folder. Losing it costs time only.

use crate::files;
use std::path::{Path, PathBuf};

/// The driver's compiled pipelines, kept between runs.
///
/// The file holds a checksum before the driver's bytes: what a disk or another program has changed never reaches the
/// driver, which would take some of it unchecked and refuse to work for the rest.
pub(super) struct DiskCache {
    pub(super) cache: wgpu::PipelineCache,
    file: CacheFile,
}

impl DiskCache {
    /// The pipelines of an earlier run, and what is wrong with them, in words, if they are not used.
    pub(super) fn open(device: &wgpu::Device, info: &wgpu::AdapterInfo) -> (Option<Self>, Option<String>) {
        let Some(file) = CacheFile::of(info, "pipelines") else {
            return (None, None);
        };
        let (data, mut damage) = match file.load() {
            Ok(data) => (data, None),
            Err(reason) => (None, Some(reason)),
        };
        let create = |data: Option<&[u8]>| {
            let desc = wgpu::PipelineCacheDescriptor {
                label: Some("selectiv"),
                data,
                fallback: true,
            };
            let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
            // SAFETY: the bytes are what `get_data` gave `save` of this program version for this adapter and driver, to
            // the bit: `CacheFile::load` has compared their checksum. `fallback` starts empty where a driver does not
            // want them.
            #[allow(unsafe_code, reason = "wgpu cannot check a driver's own format")]
            let cache = unsafe { device.create_pipeline_cache(&desc) };
            pollster::block_on(scope.pop()).map_or(Ok(cache), Err)
        };
        let cache = match create(data.as_deref()) {
            Err(e) if data.is_some() => {
                damage = Some(e.to_string());
                create(None)
            }
            cache => cache,
        };
        let damage = damage.map(|reason| {
            let path = file.path.display();
            format!("{path} is not used ({reason}): kernels are compiled anew")
        });
        (cache.ok().map(|cache| Self { cache, file }), damage)
    }

    /// Writes the cache. A failure costs only time at the next start.
    pub(super) fn save(&self) {
        if let Some(data) = self.cache.get_data() {
            self.file.store(&data);
        }
    }
}

/// A file in the user's cache folder that belongs to this adapter, driver and program version.
pub(super) struct CacheFile {
    path: PathBuf,
}

/// How such a file begins: the checksum of the rest follows.
const MAGIC: &[u8] = b"selectiv cache 1\n";
/// Most bytes that are kept.
const MOST_BYTES: u64 = 256 << 20;

impl CacheFile {
    /// `None` where the system knows no cache folder of this user.
    pub(super) fn of(info: &wgpu::AdapterInfo, extension: &str) -> Option<Self> {
        let key = format!(
            "{info:?} {} {}",
            env!("CARGO_PKG_VERSION"),
            env!("SELECTIV_COMMIT")
        );
        let name = format!("{}.{extension}", &blake3::hash(key.as_bytes()).to_hex()[..16]);
        let path = dirs::cache_dir()?.join("selectiv").join(name);
        Some(Self { path })
    }

    /// Something else than a file of ours lies there, such as a pipe that a read would wait for.
    fn is_taken(&self) -> bool {
        std::fs::symlink_metadata(&self.path).is_ok_and(|known| !known.is_file())
    }

    /// What was stored, if anything was.
    ///
    /// # Errors
    /// What is wrong with the file, in words.
    pub(super) fn load(&self) -> Result<Option<Vec<u8>>, String> {
        if self.is_taken() {
            return Err("it is no regular file".to_owned());
        }
        let mut bytes = match files::read(&self.path, MOST_BYTES) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e.to_string()),
        };
        let intact = bytes.strip_prefix(MAGIC).and_then(|rest| {
            let (checksum, data) = rest.split_at_checked(blake3::OUT_LEN)?;
            (blake3::hash(data).as_bytes() == checksum).then_some(())
        });
        intact.ok_or("its checksum is wrong")?;
        bytes.drain(..MAGIC.len() + blake3::OUT_LEN);
        Ok(Some(bytes))
    }

    /// Writes beside the file and renames. What cannot be kept is made again at the next start, so failures are not told.
    pub(super) fn store(&self, data: &[u8]) {
        let write = || -> std::io::Result<()> {
            let folder = self.path.parent().unwrap_or(Path::new("."));
            std::fs::create_dir_all(folder)?;
            let mut beside = tempfile::NamedTempFile::new_in(folder)?;
            for part in [MAGIC, blake3::hash(data).as_bytes(), data] {
                std::io::Write::write_all(&mut beside, part)?;
            }
            beside.persist(&self.path)?;
            Ok(())
        };
        if !self.is_taken() {
            let _ = write();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (tempfile::TempDir, CacheFile) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("selectiv").join("0.pipelines");
        (dir, CacheFile { path })
    }

    #[test]
    fn gives_back_what_was_stored() {
        let (_dir, file) = file();
        assert_eq!(file.load(), Ok(None));
        for data in [&b""[..], b"pipelines", &[0; 5000]] {
            file.store(data);
            assert_eq!(file.load(), Ok(Some(data.to_vec())));
        }
    }

    #[test]
    fn any_changed_bit_is_noticed() {
        let (_dir, file) = file();
        file.store(b"some pipelines of a driver");
        let good = std::fs::read(&file.path).unwrap();
        for bit in 0..8 * good.len() {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&file.path, bad).unwrap();
            assert_eq!(file.load(), Err("its checksum is wrong".to_owned()), "bit {bit}");
        }
        for len in 0..good.len() {
            std::fs::write(&file.path, &good[..len]).unwrap();
            assert!(file.load().is_err(), "{len} bytes");
        }
        file.store(b"others");
        assert_eq!(file.load(), Ok(Some(b"others".to_vec())));
    }

    #[test]
    fn what_is_no_file_is_left_alone() {
        let (_dir, file) = file();
        std::fs::create_dir_all(&file.path).unwrap();
        file.store(b"pipelines");
        assert_eq!(file.load(), Err("it is no regular file".to_owned()));
        assert!(file.path.is_dir());
    }
}

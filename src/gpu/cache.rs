//! What is kept on disk per adapter, driver and program version.

use std::path::{Path, PathBuf};

/// The driver's compiled pipelines, kept between runs per adapter, driver and program version.
pub(super) struct DiskCache {
    pub(super) cache: wgpu::PipelineCache,
    file: PathBuf,
}

impl DiskCache {
    pub(super) fn open(device: &wgpu::Device, info: &wgpu::AdapterInfo) -> Option<Self> {
        let file = cache_file(info, "pipelines")?;
        let data = std::fs::read(&file).ok();
        let desc = wgpu::PipelineCacheDescriptor {
            label: Some("selectiv"),
            data: data.as_deref(),
            fallback: true,
        };
        // SAFETY: the file was written by `save` of this program version for this adapter and driver; drivers check
        // the header that they wrote, and `fallback` starts empty if it does not match.
        #[allow(unsafe_code, reason = "wgpu cannot check a driver's own format")]
        let cache = unsafe { device.create_pipeline_cache(&desc) };
        Some(Self { cache, file })
    }

    /// Writes the cache. A failure costs only time at the next start.
    pub(super) fn save(&self) {
        if let Some(data) = self.cache.get_data() {
            store(&self.file, &data);
        }
    }
}

/// A file in the user's cache folder that belongs to this adapter, driver and program version.
pub(super) fn cache_file(info: &wgpu::AdapterInfo, extension: &str) -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    let key = format!(
        "{info:?} {} {}",
        env!("CARGO_PKG_VERSION"),
        env!("SELECTIV_COMMIT")
    );
    let name = format!("{}.{extension}", &blake3::hash(key.as_bytes()).to_hex()[..16]);
    Some(base.join("selectiv").join(name))
}

/// Writes beside the file and renames. What cannot be kept is made again at the next start, so failures are not told.
pub(super) fn store(file: &Path, data: &[u8]) {
    let write = || -> std::io::Result<()> {
        let folder = file.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut beside = tempfile::NamedTempFile::new_in(folder)?;
        std::io::Write::write_all(&mut beside, data)?;
        beside.persist(file)?;
        Ok(())
    };
    let _ = write();
}

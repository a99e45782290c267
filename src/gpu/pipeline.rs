//! Compiled kernels, and the driver's pipeline cache on disk.

use super::adapter::Gpu;
use super::shader::{Kernel, reflect};
use crate::error::{DeviceError, Result};
use std::path::{Path, PathBuf};

/// A compiled kernel.
pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
    /// Binding names in order; `params` and `step` are uniforms.
    pub(super) bindings: Vec<String>,
}

impl Pipeline {
    pub(super) fn new(gpu: &Gpu, kernel: &Kernel) -> Result<Self> {
        let broken = |message: String| gpu.driver_error(format!("{}: {message}", kernel.key()));
        let text = kernel.expand().map_err(|e| broken(e.to_string()))?;
        let (_, reflection) = reflect(kernel, &text).map_err(|e| broken(e.to_string()))?;
        let threads: u32 = reflection.workgroup_size.iter().product();
        let limits = [
            (
                "workgroup memory",
                reflection.workgroup_bytes,
                gpu.caps.workgroup_bytes,
            ),
            ("invocations of a workgroup", threads, gpu.caps.workgroup_threads),
        ];
        for (limit, needed, available) in limits {
            if needed > available {
                let (needed, available) = (u64::from(needed), u64::from(available));
                let adapter = gpu.caps.adapter.clone();
                return Err(DeviceError::Limit {
                    adapter,
                    limit,
                    needed,
                    available,
                    what: kernel.key(),
                }
                .into());
            }
        }
        let entries: Vec<wgpu::BindGroupLayoutEntry> = reflection
            .bindings
            .iter()
            .enumerate()
            .map(|(i, name)| wgpu::BindGroupLayoutEntry {
                binding: i as u32,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: match name.as_str() {
                        "params" | "step" => wgpu::BufferBindingType::Uniform,
                        _ => wgpu::BufferBindingType::Storage { read_only: false },
                    },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let label = Some(kernel.path);
        let scope = gpu.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let module = module(gpu, label, &text);
        let layout = gpu
            .device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label,
                entries: &entries,
            });
        let pipeline_layout = gpu
            .device
            .create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label,
                bind_group_layouts: &[Some(&layout)],
                immediate_size: 0,
            });
        let pipeline = gpu
            .device
            .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label,
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some(kernel.entry()),
                compilation_options: wgpu::PipelineCompilationOptions {
                    zero_initialize_workgroup_memory: gpu.options.checked,
                    ..Default::default()
                },
                cache: gpu.cache.as_ref().map(|c| &c.cache),
            });
        if let Some(e) = pollster::block_on(scope.pop()) {
            return Err(broken(e.to_string()).into());
        }
        Ok(Self {
            pipeline,
            layout,
            bindings: reflection.bindings,
        })
    }
}

fn module(gpu: &Gpu, label: Option<&str>, text: &str) -> wgpu::ShaderModule {
    let desc = wgpu::ShaderModuleDescriptor {
        label,
        source: wgpu::ShaderSource::Wgsl(text.into()),
    };
    if gpu.options.checked {
        return gpu.device.create_shader_module(desc);
    }
    // SAFETY: no index leaves its binding. Shapes are validated on the host (`OpDef::validate`, `Graph::call`), the
    // kernels guard their tails, and the tests run each of them with bounds checks and with poisoned outputs and
    // compare bit for bit. All loops end.
    #[allow(unsafe_code, reason = "bounds checks cost a factor of 4 to 15")]
    unsafe {
        gpu.device
            .create_shader_module_trusted(desc, wgpu::ShaderRuntimeChecks::unchecked())
    }
}

/// The driver's compiled pipelines, kept between runs per adapter, driver and program version.
pub(super) struct DiskCache {
    cache: wgpu::PipelineCache,
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

//! Finding and opening an adapter.

use crate::error::{DeviceError, Result};
use std::sync::{Arc, Mutex};

/// What an adapter can do, as far as the choice of kernels depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caps {
    /// The adapter's name.
    pub adapter: String,
    /// The driver computes on the CPU.
    pub software: bool,
    /// f16 x f16 -> f32 cooperative matrices of 16 x 16 x 16, and subgroups of exactly 32 invocations.
    pub coop: bool,
    /// 16-bit floats in shaders.
    pub f16: bool,
    /// Subgroup operations.
    pub subgroups: bool,
    /// Smallest subgroup.
    pub subgroup_min: u32,
    /// Largest subgroup.
    pub subgroup_max: u32,
    /// Workgroup memory of one workgroup, in bytes.
    pub workgroup_bytes: u32,
    /// Invocations of a workgroup.
    pub workgroup_threads: u32,
    /// Largest storage binding, in bytes.
    pub binding_bytes: u64,
    /// Largest buffer, in bytes.
    pub buffer_bytes: u64,
    /// Storage bindings of one stage.
    pub storage_bindings: u32,
}

impl Caps {
    /// The limits that WebGPU guarantees: every op has a variant that runs within them.
    pub fn webgpu_default() -> Self {
        Self {
            adapter: "WebGPU default limits".to_owned(),
            software: false,
            coop: false,
            f16: false,
            subgroups: false,
            subgroup_min: 4,
            subgroup_max: 128,
            workgroup_bytes: 16_384,
            workgroup_threads: 256,
            binding_bytes: 128 << 20,
            buffer_bytes: 256 << 20,
            storage_bindings: 8,
        }
    }
}

/// How a device is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// naga's bounds checks and zeroed workgroup memory: 4 to 15 times slower, for tests.
    pub checked: bool,
    /// Use cooperative matrices where the adapter has them.
    pub coop: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            checked: false,
            coop: true,
        }
    }
}

/// An open device.
pub struct Gpu {
    adapter: wgpu::Adapter,
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) caps: Caps,
    pub(super) options: Options,
    pub(super) timestamps: bool,
    pub(super) cache: Option<super::pipeline::DiskCache>,
    /// Errors that the driver reported outside a call.
    pub(super) faults: Arc<Mutex<Vec<String>>>,
    description: String,
}

/// The adapters of this machine, best first: discrete, integrated, virtual, software.
pub fn adapters() -> Vec<wgpu::Adapter> {
    let mut desc = wgpu::InstanceDescriptor::new_without_display_handle();
    desc.backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    desc.flags = wgpu::InstanceFlags::empty();
    let instance = wgpu::Instance::new(desc);
    let mut list = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    list.sort_by_key(|a| match a.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    });
    list
}

/// Whether an adapter is a real GPU, not a driver that computes on the CPU.
pub fn is_hardware(adapter: &wgpu::Adapter) -> bool {
    adapter.get_info().device_type != wgpu::DeviceType::Cpu
}

/// What [`DeviceError::NoAdapter`] says.
pub fn no_adapter() -> DeviceError {
    DeviceError::NoAdapter {
        looked_for: "Vulkan, Metal and DX12 drivers".to_owned(),
        hint: "install your GPU's Vulkan driver (on Debian also libvulkan1; mesa-vulkan-drivers brings a software \
               one for tests), or use --device cpu"
            .to_owned(),
    }
}

/// What an adapter can do.
pub fn caps(adapter: &wgpu::Adapter) -> Caps {
    let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
    let tile = |p: &wgpu::CooperativeMatrixProperties| {
        p.m_size == 16
            && p.n_size == 16
            && p.k_size == 16
            && p.ab_type == wgpu::CooperativeScalarType::F16
            && p.cr_type == wgpu::CooperativeScalarType::F32
    };
    let coop = features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX)
        && features.contains(wgpu::Features::SHADER_F16)
        && info.subgroup_min_size == 32
        && info.subgroup_max_size == 32
        && adapter.cooperative_matrix_properties().iter().any(tile);
    Caps {
        adapter: info.name,
        software: !is_hardware(adapter),
        coop,
        f16: features.contains(wgpu::Features::SHADER_F16),
        subgroups: features.contains(wgpu::Features::SUBGROUP),
        subgroup_min: info.subgroup_min_size,
        subgroup_max: info.subgroup_max_size,
        workgroup_bytes: limits.max_compute_workgroup_storage_size,
        workgroup_threads: limits.max_compute_invocations_per_workgroup,
        binding_bytes: limits.max_storage_buffer_binding_size,
        buffer_bytes: limits.max_buffer_size,
        storage_bindings: limits.max_storage_buffers_per_shader_stage,
    }
}

impl Gpu {
    /// Opens an adapter with all that it offers and the kernels use.
    ///
    /// # Errors
    /// [`DeviceError::Driver`] if the driver opens no device.
    pub fn open(adapter: &wgpu::Adapter, options: Options) -> Result<Self> {
        let mut caps = caps(adapter);
        caps.coop &= options.coop;
        let want = wgpu::Features::SHADER_F16
            | wgpu::Features::SUBGROUP
            | wgpu::Features::SUBGROUP_BARRIER
            | wgpu::Features::TIMESTAMP_QUERY
            | wgpu::Features::PIPELINE_CACHE
            | wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
        let features = want & adapter.features();
        let desc = wgpu::DeviceDescriptor {
            label: Some("selectiv"),
            required_features: features,
            required_limits: adapter.limits(),
            experimental_features: experimental(),
            memory_hints: wgpu::MemoryHints::Performance,
            trace: wgpu::Trace::Off,
        };
        let info = adapter.get_info();
        let (device, queue) =
            pollster::block_on(adapter.request_device(&desc)).map_err(|e| DeviceError::Driver {
                adapter: info.name.clone(),
                message: e.to_string(),
            })?;
        let faults = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&faults);
        device.on_uncaptured_error(Arc::new(move |e: wgpu::Error| {
            sink.lock()
                .expect("nothing panics while holding it")
                .push(e.to_string());
        }));
        let sink = Arc::clone(&faults);
        device.set_device_lost_callback(move |reason, message| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                sink.lock()
                    .expect("nothing panics while holding it")
                    .push(format!("device lost: {message}"));
            }
        });
        let cache = features
            .contains(wgpu::Features::PIPELINE_CACHE)
            .then(|| super::pipeline::DiskCache::open(&device, &info))
            .flatten();
        Ok(Self {
            adapter: adapter.clone(),
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
            description: format!(
                "{} ({:?}, {} {})",
                info.name, info.backend, info.driver, info.driver_info
            ),
            device,
            queue,
            caps,
            options,
            cache,
            faults,
        })
    }

    /// The same adapter, opened once more with other options.
    ///
    /// # Errors
    /// As [`Gpu::open`].
    pub fn reopen(&self, options: Options) -> Result<Self> {
        Self::open(&self.adapter, options)
    }

    /// What the driver says of itself.
    pub fn info(&self) -> wgpu::AdapterInfo {
        self.adapter.get_info()
    }

    /// What it can do, options applied.
    pub fn caps(&self) -> &Caps {
        &self.caps
    }

    /// Name, backend and driver.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Whether it measures the time of its own commands.
    pub fn has_timestamps(&self) -> bool {
        self.timestamps
    }

    /// The first fault that the driver reported, if any.
    ///
    /// # Errors
    /// [`DeviceError::Driver`] with the driver's message.
    pub fn fault(&self) -> Result<()> {
        match self
            .faults
            .lock()
            .expect("nothing panics while holding it")
            .first()
        {
            None => Ok(()),
            Some(message) => Err(self.driver_error(message.clone()).into()),
        }
    }

    pub(super) fn driver_error(&self, message: String) -> DeviceError {
        DeviceError::Driver {
            adapter: self.caps.adapter.clone(),
            message,
        }
    }
}

/// Permission to use wgpu's experimental features.
fn experimental() -> wgpu::ExperimentalFeatures {
    // SAFETY: the one experimental feature used is cooperative matrices, by kernels that `check` holds against the
    // f64 twin on the adapter at hand.
    #[allow(unsafe_code, reason = "wgpu asks for it")]
    unsafe {
        wgpu::ExperimentalFeatures::enabled()
    }
}

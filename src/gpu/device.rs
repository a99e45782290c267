//! An open device.

use super::adapter::caps;
use super::cache::DiskCache;
use crate::error::{DeviceError, OutOfMemory, Result, Room};
use crate::launch::Caps;
use crate::variant::Choice;
use std::sync::{Arc, Mutex, MutexGuard};

/// How a device is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// naga's bounds checks and zeroed workgroup memory: 4 to 15 times slower, for tests.
    pub checked: bool,
}

/// An open device.
pub struct Gpu {
    adapter: wgpu::Adapter,
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) caps: Caps,
    pub(super) options: Options,
    choice: Mutex<Choice>,
    pub(super) timestamps: bool,
    pub(super) cache: Option<DiskCache>,
    /// Why what was kept on disk is not used, in words.
    pub(super) cache_damage: Option<String>,
    /// Errors that the driver reported outside a call.
    pub(super) faults: Arc<Mutex<Vec<DeviceError>>>,
    description: String,
}

impl Gpu {
    /// Opens an adapter with all that it offers and the kernels use. It runs every variant: see [`super::trusted`].
    ///
    /// # Errors
    /// [`DeviceError::Driver`] if the driver opens no device.
    pub fn open(adapter: &wgpu::Adapter, options: Options) -> Result<Self> {
        let want = wgpu::Features::SHADER_F16
            | wgpu::Features::SHADER_INT64
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
        let faults: Arc<Mutex<Vec<DeviceError>>> = Arc::default();
        let (sink, name) = (Arc::clone(&faults), info.name.clone());
        device.on_uncaptured_error(Arc::new(move |e: wgpu::Error| {
            let fault = match e {
                wgpu::Error::OutOfMemory { .. } => OutOfMemory {
                    device: name.clone(),
                    what: "something that the driver allocates".to_owned(),
                    needed: 0,
                    room: Room::Free(None),
                }
                .into(),
                e => DeviceError::Driver {
                    adapter: name.clone(),
                    message: e.to_string(),
                },
            };
            sink.lock().expect("nothing panics while holding it").push(fault);
        }));
        let (sink, name) = (Arc::clone(&faults), info.name.clone());
        device.set_device_lost_callback(move |reason, message| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                sink.lock()
                    .expect("nothing panics while holding it")
                    .push(DeviceError::Driver {
                        adapter: name.clone(),
                        message: format!("device lost: {message}"),
                    });
            }
        });
        let (cache, cache_damage) = match features.contains(wgpu::Features::PIPELINE_CACHE) {
            true => DiskCache::open(&device, &info),
            false => (None, None),
        };
        Ok(Self {
            adapter: adapter.clone(),
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
            description: format!(
                "{} ({:?}, {} {})",
                info.name, info.backend, info.driver, info.driver_info
            ),
            device,
            queue,
            caps: caps(adapter),
            options,
            choice: Mutex::default(),
            cache,
            cache_damage,
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

    /// Which variants it runs.
    pub fn choice(&self) -> Choice {
        self.lock().clone()
    }

    /// Changes which variants it runs.
    pub(super) fn choose(&self, change: impl FnOnce(&mut Choice)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, Choice> {
        self.choice.lock().expect("nothing panics while holding it")
    }

    /// What it can do.
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
    /// [`DeviceError::Driver`] with the driver's message, [`DeviceError::OutOfMemory`].
    pub fn fault(&self) -> Result<()> {
        match self
            .faults
            .lock()
            .expect("nothing panics while holding it")
            .first()
        {
            None => Ok(()),
            Some(fault) => Err(fault.clone().into()),
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

//! Finding adapters, and what they can do.

use crate::error::DeviceError;
use crate::launch::{Caps, SCRATCH_BYTES};

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

/// A shape of cooperative matrices that an adapter multiplies.
fn shape(p: &wgpu::CooperativeMatrixProperties) -> String {
    let types = format!("{:?} -> {:?}", p.ab_type, p.cr_type).to_lowercase();
    format!("{}x{}x{} {types}", p.m_size, p.n_size, p.k_size)
}

/// The shapes of cooperative matrices (m x n x k, types of factors and sums) that an adapter multiplies.
pub fn matrix_shapes(adapter: &wgpu::Adapter) -> Vec<String> {
    let mut all: Vec<String> = adapter
        .cooperative_matrix_properties()
        .iter()
        .map(shape)
        .collect();
    all.dedup();
    all
}

/// Whether a Vulkan driver reports an extension; `None` for other drivers.
#[allow(unsafe_code, reason = "wgpu hands out its own driver's objects so")]
pub fn reports(adapter: &wgpu::Adapter, extension: &std::ffi::CStr) -> Option<bool> {
    // SAFETY: nothing is done with what is handed out but reading the list that was made when it was found.
    let found = unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() }?;
    Some(found.physical_device_capabilities().supports_extension(extension))
}

/// Bytes of the largest heap of a Vulkan device's own memory; `None` for other drivers.
#[allow(unsafe_code, reason = "wgpu hands out its own driver's objects so")]
pub(super) fn memory_bytes(adapter: &wgpu::Adapter) -> Option<u64> {
    const DEVICE_LOCAL: u32 = 1;
    // SAFETY: a driver is asked about a device that it listed; nothing is kept or changed.
    let found = unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() }?;
    let instance = found.shared_instance().raw_instance();
    // SAFETY: as above.
    let memory = unsafe { instance.get_physical_device_memory_properties(found.raw_physical_device()) };
    let heaps = memory.memory_heaps.iter().take(memory.memory_heap_count as usize);
    let own = heaps.filter(|heap| heap.flags.as_raw() & DEVICE_LOCAL != 0);
    own.map(|heap| heap.size).max()
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
        int64: features.contains(wgpu::Features::SHADER_INT64),
        subgroups: features.contains(wgpu::Features::SUBGROUP),
        subgroup_min: info.subgroup_min_size,
        subgroup_max: info.subgroup_max_size,
        workgroup_bytes: limits.max_compute_workgroup_storage_size,
        workgroup_threads: limits.max_compute_invocations_per_workgroup,
        binding_bytes: limits.max_storage_buffer_binding_size,
        buffer_bytes: limits.max_buffer_size,
        // That of a driver that computes on the CPU is the machine's, which others use too.
        memory_bytes: is_hardware(adapter).then(|| memory_bytes(adapter)).flatten(),
        storage_bindings: limits.max_storage_buffers_per_shader_stage,
        scratch_bytes: SCRATCH_BYTES,
    }
}

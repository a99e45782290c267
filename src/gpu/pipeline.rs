//! Compiled kernels.

use super::device::Gpu;
use crate::error::{DeviceError, Result};
use crate::shader::{Kernel, Reflection, reflection};
use std::sync::Arc;

/// A compiled kernel.
pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
    pub(super) reflection: Arc<Reflection>,
}

impl Pipeline {
    pub(super) fn new(gpu: &Gpu, kernel: &Kernel) -> Result<Self> {
        let broken = |message: String| gpu.driver_error(format!("{}: {message}", kernel.key()));
        let text = kernel.expand().map_err(|e| broken(e.to_string()))?;
        let reflection = reflection(kernel).map_err(|e| broken(e.to_string()))?;
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
            .map(|binding| wgpu::BindGroupLayoutEntry {
                binding: binding.index,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: if binding.uniform {
                        wgpu::BufferBindingType::Uniform
                    } else {
                        wgpu::BufferBindingType::Storage { read_only: false }
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
            reflection,
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
    // SAFETY: no index leaves its binding. Kernels index by an op's sizes, which `OpDef::validate` keeps within u32, and
    // guard their tails; the graph holds every tensor of a call, its outputs and the gradients that backward starts from
    // against the op's ports (`Graph::check_ports`, the only way into the list of calls). Numbers that the host or another
    // call writes into index tensors never lead anywhere unchecked: symbols and labels are compared, windows cut off
    // at the end of their sequence, positions at the last row. The tests run each kernel with bounds checks and without,
    // from poisoned memory, and compare bit for bit. All loops end: their bounds are sizes, too.
    #[allow(unsafe_code, reason = "bounds checks cost a factor of 4 to 15")]
    unsafe {
        gpu.device
            .create_shader_module_trusted(desc, wgpu::ShaderRuntimeChecks::unchecked())
    }
}

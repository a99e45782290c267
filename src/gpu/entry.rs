//! Entries that tests add to shaders of `shaders/lib`.

use super::Gpu;
use wgpu::util::DeviceExt as _;

/// What an entry of a shader's text leaves in the words of a binding, after so many workgroups: for what no op computes alone.
pub(crate) fn compute(
    gpu: &Gpu,
    text: String,
    entry: &str,
    (binding, words): (u32, &[u32]),
    uniform: Option<(u32, &[u8])>,
    groups: u32,
) -> Vec<u32> {
    let device = &gpu.device;
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(text.into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: Some(entry),
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    });
    let made = |contents: &[u8], usage| {
        let label = None;
        device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
            label,
            contents,
            usage,
        })
    };
    let bytes = bytemuck::cast_slice(words);
    let storage = made(bytes, wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC);
    let uniform = uniform.map(|(binding, bytes)| (binding, made(bytes, wgpu::BufferUsages::UNIFORM)));
    let read = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: bytes.len() as u64,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let bound = [(binding, &storage)].into_iter();
    let bound = bound.chain(uniform.iter().map(|(binding, buffer)| (*binding, buffer)));
    let entries: Vec<wgpu::BindGroupEntry<'_>> = bound
        .map(|(binding, buffer)| wgpu::BindGroupEntry {
            binding,
            resource: buffer.as_entire_binding(),
        })
        .collect();
    let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &entries,
    });
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(groups, 1, 1);
    }
    encoder.copy_buffer_to_buffer(&storage, 0, &read, 0, bytes.len() as u64);
    gpu.queue.submit([encoder.finish()]);
    read.slice(..).map_async(wgpu::MapMode::Read, |r| r.unwrap());
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    gpu.fault().unwrap();
    let mapped = read.slice(..).get_mapped_range().unwrap();
    bytemuck::cast_slice(&mapped).to_vec()
}

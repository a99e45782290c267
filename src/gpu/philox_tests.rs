//! `shaders/lib/philox.wgsl` against the generator's known answers: no op draws bits for a counter of one's choice.

use super::{Gpu, Options, adapter};
use crate::philox::philox4x32;
use crate::philox::tests::KNOWN;
use crate::shader::Kernel;
use wgpu::util::DeviceExt as _;

const ENTRY: &str = "
@group(0) @binding(0) var<storage, read_write> words: array<vec4<u32>>; // counter, key and the place of the bits

@compute @workgroup_size(1)
fn draw(@builtin(workgroup_id) id: vec3<u32>) {
    let at = 3u * id.x;
    words[at + 2u] = philox4x32(words[at], words[at + 1u].xy);
}
";

/// Bits for each counter and key, with or without 64-bit integers.
fn draw(gpu: &Gpu, int64: bool, inputs: &[([u32; 4], [u32; 2])]) -> Vec<[u32; 4]> {
    let kernel = Kernel::new("lib/philox").set("INT64", int64);
    let text = kernel.expand().unwrap() + ENTRY;
    let module = gpu.device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(text.into()),
    });
    let pipeline = gpu
        .device
        .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: Some("draw"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
    let words: Vec<u32> = inputs
        .iter()
        .flat_map(|(c, k)| [c[0], c[1], c[2], c[3], k[0], k[1], 0, 0, 0, 0, 0, 0])
        .collect();
    let bytes = bytemuck::cast_slice(&words);
    let buffer = gpu.device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
        label: None,
        contents: bytes,
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
    });
    let read = gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: bytes.len() as u64,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[wgpu::BindGroupEntry {
            binding: 0,
            resource: buffer.as_entire_binding(),
        }],
    });
    let mut encoder = gpu
        .device
        .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(inputs.len() as u32, 1, 1);
    }
    encoder.copy_buffer_to_buffer(&buffer, 0, &read, 0, bytes.len() as u64);
    gpu.queue.submit([encoder.finish()]);
    read.slice(..).map_async(wgpu::MapMode::Read, |r| r.unwrap());
    gpu.device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    gpu.fault().unwrap();
    let mapped = read.slice(..).get_mapped_range().unwrap();
    let words: &[u32] = bytemuck::cast_slice(&mapped);
    words.chunks(12).map(|w| [w[8], w[9], w[10], w[11]]).collect()
}

#[test]
fn gives_the_known_answers() {
    let known: Vec<_> = KNOWN.iter().map(|(c, k, _)| (*c, *k)).collect();
    let mut chained = vec![([1, 2, 3, 4], [5, 6])];
    for i in 0..200 {
        let (c, k): ([u32; 4], [u32; 2]) = chained[i];
        chained.push((philox4x32(c, k), [c[0] ^ k[1], c[1] ^ k[0]]));
    }
    for a in &adapter::adapters() {
        let gpu = Gpu::open(a, Options::default()).unwrap();
        for int64 in [false, true] {
            if int64 && !adapter::caps(a).int64 {
                continue;
            }
            let got = draw(&gpu, int64, &known);
            let want: Vec<_> = KNOWN.iter().map(|k| k.2).collect();
            assert_eq!(got, want, "{}, int64 {int64}", gpu.description());
            let want: Vec<_> = chained.iter().map(|(c, k)| philox4x32(*c, *k)).collect();
            assert!(
                draw(&gpu, int64, &chained) == want,
                "{}, int64 {int64}: other bits than the CPU's",
                gpu.description()
            );
        }
    }
}

//! Encoding: the launches of a program into command buffers, which go to the device when something has to wait for them.

use super::{GpuRuntime, Launch, checked};
use crate::error::Result;
use crate::runtime::Program;
use crate::step::StepParams;
use std::ops::Range;
use std::time::Duration;

impl GpuRuntime {
    pub(super) fn encoder(&mut self) -> wgpu::CommandEncoder {
        self.encoder.take().unwrap_or_else(|| {
            self.gpu
                .device
                .create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("step") })
        })
    }

    pub(super) fn submit(&mut self) {
        if let Some(encoder) = self.encoder.take() {
            self.gpu.queue.submit([encoder.finish()]);
        }
    }

    pub(super) fn set_step(&mut self, step: &StepParams) {
        if self.last_step.as_ref() != Some(step) {
            let target = self.step.clone();
            self.upload(&target, 0, bytemuck::bytes_of(step));
            self.last_step = Some(*step);
        }
    }

    /// Encodes the launches of `calls`, each call in its own pass if `times` wants its timestamps.
    pub(super) fn encode(&mut self, program: Program, calls: Range<usize>, times: Option<&wgpu::QuerySet>) {
        let mut encoder = self.encoder();
        let loaded = &self.programs[program.0];
        if calls.start == 0 {
            encoder.clear_buffer(&loaded.slots, 0, None);
        }
        let launches: Vec<&Launch> = loaded
            .launches
            .iter()
            .filter(|l| calls.contains(&l.call))
            .collect();
        let groups: Vec<&[&Launch]> = match times {
            Some(_) => launches.chunk_by(|a, b| a.call == b.call).collect(),
            None => vec![&launches],
        };
        for group in groups {
            let call = group.first().map_or(0, |l| l.call);
            let timestamp_writes = times.map(|query_set| wgpu::ComputePassTimestampWrites {
                query_set,
                beginning_of_pass_write_index: Some(2 * call as u32),
                end_of_pass_write_index: Some(2 * call as u32 + 1),
            });
            let label = times
                .and_then(|_| loaded.graph.calls().get(call))
                .map_or("step", |c| c.op.name());
            let desc = wgpu::ComputePassDescriptor {
                label: Some(label),
                timestamp_writes,
            };
            let mut pass = encoder.begin_compute_pass(&desc);
            let mut current = usize::MAX;
            for launch in group {
                if launch.pipeline != current {
                    pass.set_pipeline(&self.pipelines[launch.pipeline].pipeline);
                    current = launch.pipeline;
                }
                pass.set_bind_group(0, &launch.bind_group, &[]);
                pass.dispatch_workgroups(launch.grid[0], launch.grid[1], launch.grid[2]);
            }
        }
        self.encoder = Some(encoder);
    }

    /// [`Runtime::profile`](crate::runtime::Runtime::profile).
    pub(super) fn time_calls(&mut self, program: Program, step: &StepParams) -> Result<Vec<Duration>> {
        let calls = self.programs[program.0].graph.calls().len();
        if !self.gpu.timestamps {
            return Err(self
                .gpu
                .driver_error("has no timestamp queries".to_owned())
                .into());
        }
        self.set_step(step);
        let count = 2 * calls as u32;
        let query_set = checked(&self.gpu, "timestamps", 8 * count as usize, || {
            self.gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("profile"),
                ty: wgpu::QueryType::Timestamp,
                count,
            })
        })?;
        self.encode(program, 0..calls, Some(&query_set));
        let resolved = self.buffer("profile", 8 * count as usize, wgpu::BufferUsages::QUERY_RESOLVE)?;
        let mut encoder = self.encoder();
        encoder.resolve_query_set(&query_set, 0..count, &resolved, 0);
        self.encoder = Some(encoder);
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&self.download(&resolved, 0..8 * count as usize)?);
        let period = f64::from(self.gpu.queue.get_timestamp_period());
        let time = |t: &[u64]| Duration::from_secs_f64(t[1].saturating_sub(t[0]) as f64 * period * 1e-9);
        Ok(ticks.chunks_exact(2).map(time).collect())
    }
}

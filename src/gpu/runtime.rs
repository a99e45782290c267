//! The GPU executor: plans a lowered graph into a few buffers, compiles its kernels, and replays its dispatches.

use super::adapter::Gpu;
use super::lower::{Dispatch, Lower, Source, View};
use super::pipeline::Pipeline;
use crate::error::{DeviceError, Result};
use crate::graph::Graph;
use crate::plan::{Item, Plan, Policy, lifetimes};
use crate::runtime::{Data, Program, Runtime, Ticket};
use crate::step::StepParams;
use crate::tensor::{Bank, Dtype, Role, TensorId};
use rayon::prelude::*;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::mpsc;
use std::time::Duration;

/// Alignment of everything that is bound.
const ALIGN: usize = 256;
/// Bytes of a copy that is on its way to the host.
const RING_BYTES: u64 = 256;

/// One encoded launch.
struct Launch {
    call: usize,
    pipeline: usize,
    bind_group: wgpu::BindGroup,
    grid: [u32; 3],
}

struct Loaded {
    graph: Graph,
    launches: Vec<Launch>,
    blocks: Vec<wgpu::Buffer>,
    slots: wgpu::Buffer,
    /// Block and byte range of each tensor outside the banks.
    places: Vec<Option<(usize, Range<usize>)>>,
    bytes: usize,
}

struct Flight {
    ticket: Ticket,
    bytes: usize,
    done: mpsc::Receiver<std::result::Result<(), wgpu::BufferAsyncError>>,
}

/// See the module docs.
pub struct GpuRuntime {
    gpu: Gpu,
    banks: Vec<wgpu::Buffer>,
    step: wgpu::Buffer,
    last_step: Option<StepParams>,
    pipelines: Vec<Pipeline>,
    by_key: HashMap<String, usize>,
    programs: Vec<Loaded>,
    encoder: Option<wgpu::CommandEncoder>,
    ring: Vec<(wgpu::Buffer, Option<Flight>)>,
    tickets: u64,
}

impl GpuRuntime {
    /// An executor on an open device.
    pub fn new(gpu: Gpu) -> Self {
        let step = buffer(&gpu, "step", size_of::<StepParams>(), wgpu::BufferUsages::UNIFORM);
        Self {
            gpu,
            banks: Vec::new(),
            step,
            last_step: None,
            pipelines: Vec::new(),
            by_key: HashMap::new(),
            programs: Vec::new(),
            encoder: None,
            ring: Vec::new(),
            tickets: 0,
        }
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Bytes that a graph would take on this adapter, the banks not included, without allocating anything.
    pub fn planned_bytes(&self, graph: &Graph) -> usize {
        let lowered = Lower::graph(graph, &self.gpu.caps);
        let (_, items) = all_items(graph, &lowered.scratch);
        Plan::new(&items, self.policy()).bytes()
    }

    /// The keys of the kernels that a program runs.
    pub fn kernels(&self, program: Program) -> Vec<String> {
        let used: std::collections::BTreeSet<usize> = self.programs[program.0]
            .launches
            .iter()
            .map(|l| l.pipeline)
            .collect();
        let mut keys: Vec<String> = self
            .by_key
            .iter()
            .filter(|(_, i)| used.contains(i))
            .map(|(k, _)| k.clone())
            .collect();
        keys.sort();
        keys
    }

    fn policy(&self) -> Policy {
        let limit = usize::try_from(self.gpu.caps.buffer_bytes).unwrap_or(usize::MAX);
        Policy::Packed {
            align: ALIGN,
            max_block: (limit / ALIGN * ALIGN).min(1 << 32),
        }
    }

    fn checked<T>(&self, what: &str, create: impl FnOnce() -> T) -> Result<T> {
        let memory = self.gpu.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.gpu.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let made = create();
        let errors = [
            pollster::block_on(validation.pop()),
            pollster::block_on(memory.pop()),
        ];
        match errors.into_iter().flatten().next() {
            None => Ok(made),
            Some(e) => Err(self.gpu.driver_error(format!("{what}: {e}")).into()),
        }
    }

    fn compile(&mut self, dispatches: &[Dispatch]) -> Result<Vec<usize>> {
        let mut kernels = Vec::new();
        let mut new = Vec::new();
        for dispatch in dispatches {
            let kernel = typed(dispatch)?;
            let key = kernel.key();
            if !self.by_key.contains_key(&key) {
                self.by_key.insert(key.clone(), self.pipelines.len() + new.len());
                new.push(kernel);
            }
            kernels.push(self.by_key[&key]);
        }
        let gpu = &self.gpu;
        let made: Result<Vec<Pipeline>> = new.par_iter().map(|k| Pipeline::new(gpu, k)).collect();
        match made {
            Ok(made) => self.pipelines.extend(made),
            Err(e) => {
                let known = self.pipelines.len();
                self.by_key.retain(|_, i| *i < known);
                return Err(e);
            }
        }
        if !new.is_empty()
            && let Some(cache) = &self.gpu.cache
        {
            cache.save();
        }
        Ok(kernels)
    }

    fn submit(&mut self) {
        if let Some(encoder) = self.encoder.take() {
            self.gpu.queue.submit([encoder.finish()]);
        }
    }

    fn encoder(&mut self) -> wgpu::CommandEncoder {
        self.encoder.take().unwrap_or_else(|| {
            self.gpu
                .device
                .create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("step") })
        })
    }

    /// Host writes happen before everything that is encoded and not yet submitted, so that has to go first.
    fn upload(&mut self, target: &wgpu::Buffer, offset: usize, bytes: &[u8]) {
        self.submit();
        for (i, part) in bytes.chunks(64 << 20).enumerate() {
            self.gpu
                .queue
                .write_buffer(target, (offset + i * (64 << 20)) as u64, part);
        }
    }

    fn set_step(&mut self, step: &StepParams) {
        if self.last_step.as_ref() != Some(step) {
            let target = self.step.clone();
            self.upload(&target, 0, bytemuck::bytes_of(step));
            self.last_step = Some(*step);
        }
    }

    fn location(&self, program: Program, tensor: TensorId) -> Option<(wgpu::Buffer, Range<usize>)> {
        let loaded = &self.programs[program.0];
        let info = loaded.graph.tensor(tensor);
        match info.role {
            Role::Bank(bank, offset) => Some((
                self.banks[bank as usize].clone(),
                4 * offset..4 * (offset + info.numel()),
            )),
            _ => loaded.places[tensor.index()]
                .clone()
                .map(|(block, range)| (loaded.blocks[block].clone(), range)),
        }
    }

    fn download(&mut self, source: &wgpu::Buffer, range: Range<usize>) -> Result<Vec<u8>> {
        const CHUNK: usize = 256 << 20;
        let mut out = Vec::with_capacity(range.len());
        let mut at = range.start;
        while at < range.end {
            let n = CHUNK.min(range.end - at);
            let size = n.next_multiple_of(4) as u64;
            let staging = self.checked("reading back", || {
                self.gpu.device.create_buffer(&wgpu::BufferDescriptor {
                    label: Some("read"),
                    size,
                    usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                    mapped_at_creation: false,
                })
            })?;
            let mut encoder = self.encoder();
            encoder.copy_buffer_to_buffer(source, at as u64, &staging, 0, size);
            self.encoder = Some(encoder);
            self.submit();
            let (tx, rx) = mpsc::channel();
            staging.map_async(wgpu::MapMode::Read, .., move |r| {
                let _ = tx.send(r);
            });
            self.poll(true)?;
            rx.recv()
                .ok()
                .and_then(std::result::Result::ok)
                .ok_or_else(|| self.lost("a read did not complete"))?;
            let view = staging
                .get_mapped_range(..)
                .map_err(|e| self.lost(&e.to_string()))?;
            out.extend_from_slice(&view[..n]);
            at += n;
        }
        Ok(out)
    }

    fn lost(&self, message: &str) -> crate::error::Error {
        match self.gpu.fault() {
            Err(e) => e,
            Ok(()) => self.gpu.driver_error(message.to_owned()).into(),
        }
    }

    fn poll(&self, wait: bool) -> Result<()> {
        let kind = if wait {
            wgpu::PollType::wait_indefinitely()
        } else {
            wgpu::PollType::Poll
        };
        self.gpu
            .device
            .poll(kind)
            .map_err(|e| self.lost(&e.to_string()))?;
        self.gpu.fault()
    }

    /// Encodes the launches of `calls`, each call in its own pass if `times` wants its timestamps.
    fn encode(&mut self, program: Program, calls: Range<usize>, times: Option<&wgpu::QuerySet>) {
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

    fn make_banks(&mut self, len: usize) -> Result<()> {
        if self.banks.is_empty() {
            for bank in Bank::ALL {
                let name = format!("{bank:?}").to_lowercase();
                let made = self.checked(&name, || {
                    buffer(&self.gpu, &name, 4 * len, wgpu::BufferUsages::STORAGE)
                })?;
                self.banks.push(made);
            }
        }
        Ok(())
    }
}

/// The kernel of a dispatch with storage types written in.
fn typed(dispatch: &Dispatch) -> Result<super::shader::Kernel> {
    if dispatch.bindings.iter().all(|v| v.dtype != Dtype::F16) {
        return Ok(dispatch.kernel.clone());
    }
    let broken = |e: super::shader::ShaderError| DeviceError::Driver {
        adapter: String::new(),
        message: e.to_string(),
    };
    let text = dispatch.kernel.expand().map_err(broken)?;
    let (_, reflection) = super::shader::reflect(&dispatch.kernel, &text).map_err(broken)?;
    let has = |name: &str| text.contains(&format!("alias {name} ="));
    Ok(dispatch.typed_kernel(&reflection.bindings, has))
}

fn buffer(gpu: &Gpu, label: &str, bytes: usize, usage: wgpu::BufferUsages) -> wgpu::Buffer {
    gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some(label),
        size: bytes.max(4).next_multiple_of(ALIGN) as u64,
        usage: usage | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
        mapped_at_creation: false,
    })
}

/// Tensors and scratch of a lowered graph as items to place; the tensors' ids come first.
fn all_items(graph: &Graph, scratch: &[(usize, usize)]) -> (Vec<TensorId>, Vec<Item>) {
    let (ids, mut items) = lifetimes(graph);
    for item in &mut items {
        item.class = 0;
    }
    items.extend(scratch.iter().map(|&(words, call)| Item {
        bytes: 4 * words,
        first: call,
        last: call,
        class: 0,
    }));
    (ids, items)
}

impl Runtime for GpuRuntime {
    fn device(&self) -> String {
        self.gpu.description().to_owned()
    }

    fn load(&mut self, graph: &Graph) -> Result<Program> {
        self.submit();
        self.make_banks(graph.bank_len())?;
        let lowered = Lower::graph(graph, &self.gpu.caps);
        let (ids, items) = all_items(graph, &lowered.scratch);
        if let Some((id, item)) = ids
            .iter()
            .zip(&items)
            .find(|(_, i)| i.bytes as u64 > self.gpu.caps.binding_bytes)
        {
            return Err(DeviceError::Limit {
                adapter: self.gpu.caps.adapter.clone(),
                limit: "largest storage binding, bytes",
                needed: item.bytes as u64,
                available: self.gpu.caps.binding_bytes,
                what: graph.tensor(*id).name.clone(),
            }
            .into());
        }
        let plan = Plan::new(&items, self.policy());
        let kernels = self.compile(&lowered.dispatches)?;
        let blocks = plan
            .blocks
            .iter()
            .map(|&bytes| {
                self.checked("activations", || {
                    buffer(&self.gpu, "activations", bytes, wgpu::BufferUsages::STORAGE)
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let slots = buffer(&self.gpu, "slots", 4 * lowered.slots, wgpu::BufferUsages::STORAGE);
        let mut places = vec![None; graph.tensors().len()];
        for (id, (place, item)) in ids.iter().zip(plan.places.iter().zip(&items)) {
            places[id.index()] = Some((place.block, place.offset..place.offset + item.bytes));
        }
        let scratch = &plan.places[ids.len()..];

        let mut params = Vec::new();
        let mut param_at = Vec::new();
        for dispatch in &lowered.dispatches {
            param_at.push(params.len());
            params.extend_from_slice(&dispatch.params);
            params.resize(params.len().next_multiple_of(ALIGN), 0);
        }
        let params_buffer = buffer(&self.gpu, "params", params.len(), wgpu::BufferUsages::UNIFORM);
        self.upload(&params_buffer, 0, &params);

        let place = |view: &View| -> (&wgpu::Buffer, usize) {
            let (buffer, start) = match view.source {
                Source::Slots => (&slots, 0),
                Source::Scratch(i) => (&blocks[scratch[i].block], scratch[i].offset),
                Source::Tensor(id) => match (graph.tensor(id).role, &places[id.index()]) {
                    (Role::Bank(bank, offset), _) => (&self.banks[bank as usize], 4 * offset),
                    (_, Some((block, range))) => (&blocks[*block], range.start),
                    (_, None) => unreachable!("every tensor of a call has a place"),
                },
            };
            (buffer, start + view.offset * view.dtype.bytes())
        };
        let mut launches = Vec::with_capacity(lowered.dispatches.len());
        for ((dispatch, &pipeline), &param) in lowered.dispatches.iter().zip(&kernels).zip(&param_at) {
            let made = &self.pipelines[pipeline];
            let mut storage = dispatch.bindings.iter();
            let entries: Vec<wgpu::BindGroupEntry<'_>> = made
                .bindings
                .iter()
                .enumerate()
                .map(|(i, name)| {
                    let (buffer, offset, size) = match name.as_str() {
                        "params" => (&params_buffer, param, dispatch.params.len().next_multiple_of(16)),
                        "step" => (&self.step, 0, size_of::<StepParams>()),
                        _ => {
                            let view = storage.next().expect("a launch binds what its shader declares");
                            let (buffer, offset) = place(view);
                            (
                                buffer,
                                offset,
                                (view.len * view.dtype.bytes()).next_multiple_of(4),
                            )
                        }
                    };
                    wgpu::BindGroupEntry {
                        binding: i as u32,
                        resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                            buffer,
                            offset: offset as u64,
                            size: std::num::NonZeroU64::new(size as u64),
                        }),
                    }
                })
                .collect();
            assert!(
                storage.next().is_none(),
                "{}: more views than bindings",
                dispatch.kernel.key()
            );
            let desc = wgpu::BindGroupDescriptor {
                label: Some(dispatch.kernel.path),
                layout: &made.layout,
                entries: &entries,
            };
            let bind_group = self.checked(&dispatch.kernel.key(), || {
                self.gpu.device.create_bind_group(&desc)
            })?;
            launches.push(Launch {
                call: dispatch.call,
                pipeline,
                bind_group,
                grid: dispatch.grid,
            });
        }
        let bytes = plan.bytes() + params.len() + 4 * lowered.slots;
        self.programs.push(Loaded {
            graph: graph.clone(),
            launches,
            blocks,
            slots,
            places,
            bytes,
        });
        Ok(Program(self.programs.len() - 1))
    }

    fn reset(&mut self) {
        self.submit();
        self.programs.clear();
        self.banks.clear();
    }

    fn program_bytes(&self, program: Program) -> usize {
        self.programs[program.0].bytes
    }

    fn total_bytes(&self) -> usize {
        let banks: u64 = self.banks.iter().map(wgpu::Buffer::size).sum();
        banks as usize + self.programs.iter().map(|p| p.bytes).sum::<usize>()
    }

    fn launches(&self, program: Program) -> usize {
        self.programs[program.0].launches.len()
    }

    fn write(&mut self, program: Program, tensor: TensorId, data: Data<'_>) -> Result<()> {
        let Some((target, range)) = self.location(program, tensor) else {
            return Ok(());
        };
        let narrowed: Vec<f32>;
        let bytes: &[u8] = match data {
            Data::F32(x) => bytemuck::cast_slice(x),
            Data::U32(x) => bytemuck::cast_slice(x),
            Data::F64(x) => {
                narrowed = x.iter().map(|v| *v as f32).collect();
                bytemuck::cast_slice(&narrowed)
            }
        };
        assert_eq!(bytes.len(), range.len(), "the host writes whole tensors");
        self.upload(&target, range.start, bytes);
        Ok(())
    }

    fn run(&mut self, program: Program, step: &StepParams) -> Result<()> {
        self.set_step(step);
        let calls = self.programs[program.0].graph.calls().len();
        self.encode(program, 0..calls, None);
        Ok(())
    }

    fn clear_states(&mut self, program: Program) -> Result<()> {
        let states: Vec<TensorId> = self.programs[program.0]
            .graph
            .states()
            .map(|(id, _)| id)
            .collect();
        let mut encoder = self.encoder();
        for id in states {
            if let Some((buffer, range)) = self.location(program, id) {
                encoder.clear_buffer(&buffer, range.start as u64, Some(range.len() as u64));
            }
        }
        self.encoder = Some(encoder);
        Ok(())
    }

    fn clear_bank(&mut self, bank: Bank) -> Result<()> {
        let mut encoder = self.encoder();
        encoder.clear_buffer(&self.banks[bank as usize], 0, None);
        self.encoder = Some(encoder);
        Ok(())
    }

    fn write_bank(&mut self, bank: Bank, data: &[f32]) -> Result<()> {
        let target = self.banks[bank as usize].clone();
        self.upload(&target, 0, bytemuck::cast_slice(data));
        Ok(())
    }

    fn read_bank(&mut self, bank: Bank) -> Result<Vec<f32>> {
        let source = self.banks[bank as usize].clone();
        let len = self.programs.first().map_or(0, |p| 4 * p.graph.bank_len());
        let bytes = self.download(&source, 0..len)?;
        Ok(bytemuck::pod_collect_to_vec(&bytes))
    }

    fn read(&mut self, program: Program, tensor: TensorId) -> Result<Vec<f64>> {
        let (source, range) = self
            .location(program, tensor)
            .expect("only tensors that calls touch are read");
        let values: Vec<f32> = bytemuck::pod_collect_to_vec(&self.download(&source, range)?);
        Ok(values.into_iter().map(f64::from).collect())
    }

    fn read_u32(&mut self, program: Program, tensor: TensorId) -> Result<Vec<u32>> {
        let (source, range) = self
            .location(program, tensor)
            .expect("only tensors that calls touch are read");
        Ok(bytemuck::pod_collect_to_vec(&self.download(&source, range)?))
    }

    fn fetch(&mut self, program: Program, tensor: TensorId) -> Result<Ticket> {
        let (source, range) = self
            .location(program, tensor)
            .expect("only tensors that calls touch are fetched");
        assert!(range.len() as u64 <= RING_BYTES, "only small results are fetched");
        let free = self
            .ring
            .iter()
            .position(|(_, flight)| flight.is_none())
            .unwrap_or_else(|| {
                let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
                let desc = wgpu::BufferDescriptor {
                    label: Some("ring"),
                    size: RING_BYTES,
                    usage,
                    mapped_at_creation: false,
                };
                self.ring.push((self.gpu.device.create_buffer(&desc), None));
                self.ring.len() - 1
            });
        let staging = self.ring[free].0.clone();
        let mut encoder = self.encoder();
        encoder.copy_buffer_to_buffer(&source, range.start as u64, &staging, 0, range.len() as u64);
        self.encoder = Some(encoder);
        self.submit();
        let (tx, done) = mpsc::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |r| {
            let _ = tx.send(r);
        });
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.ring[free].1 = Some(Flight {
            ticket,
            bytes: range.len(),
            done,
        });
        Ok(ticket)
    }

    fn take(&mut self, ticket: Ticket, wait: bool) -> Result<Option<Vec<f32>>> {
        self.poll(wait)?;
        let slot = self
            .ring
            .iter()
            .position(|(_, f)| f.as_ref().is_some_and(|f| f.ticket == ticket));
        let slot = slot.expect("a ticket is taken once");
        let (staging, flight) = &mut self.ring[slot];
        let in_flight = flight.as_ref().expect("found by its ticket");
        match in_flight.done.try_recv() {
            Err(mpsc::TryRecvError::Empty) if !wait => return Ok(None),
            Ok(Ok(())) => {}
            _ => return Err(self.lost("a read did not complete")),
        }
        let bytes = in_flight.bytes;
        let mapped = staging
            .get_mapped_range(..)
            .map(|view| bytemuck::pod_collect_to_vec(&view[..bytes]));
        staging.unmap();
        *flight = None;
        mapped.map(Some).map_err(|e| self.lost(&e.to_string()))
    }

    fn wait(&mut self) -> Result<()> {
        self.submit();
        self.poll(true)
    }

    fn profile(&mut self, program: Program, step: &StepParams) -> Result<Vec<Duration>> {
        let calls = self.programs[program.0].graph.calls().len();
        if !self.gpu.timestamps {
            return Err(self
                .gpu
                .driver_error("has no timestamp queries".to_owned())
                .into());
        }
        self.set_step(step);
        let count = 2 * calls as u32;
        let query_set = self.checked("timestamps", || {
            self.gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("profile"),
                ty: wgpu::QueryType::Timestamp,
                count,
            })
        })?;
        self.encode(program, 0..calls, Some(&query_set));
        let resolved = buffer(
            &self.gpu,
            "profile",
            8 * count as usize,
            wgpu::BufferUsages::QUERY_RESOLVE,
        );
        let mut encoder = self.encoder();
        encoder.resolve_query_set(&query_set, 0..count, &resolved, 0);
        self.encoder = Some(encoder);
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&self.download(&resolved, 0..8 * count as usize)?);
        let period = f64::from(self.gpu.queue.get_timestamp_period());
        let time = |t: &[u64]| Duration::from_secs_f64(t[1].saturating_sub(t[0]) as f64 * period * 1e-9);
        Ok(ticks.chunks_exact(2).map(time).collect())
    }

    fn first_not_finite(
        &mut self,
        program: Program,
        step: &StepParams,
    ) -> Result<Option<(usize, TensorId, usize)>> {
        self.set_step(step);
        for i in 0..self.programs[program.0].graph.calls().len() {
            self.encode(program, i..i + 1, None);
            let graph = &self.programs[program.0].graph;
            let call = &graph.calls()[i];
            let outs = call.outs.iter().flatten().map(|o| o.tensor);
            let ids: Vec<TensorId> = call.ins.iter().flatten().copied().chain(outs).collect();
            let ids: Vec<TensorId> = ids
                .into_iter()
                .filter(|id| graph.tensor(*id).dtype != Dtype::U32)
                .collect();
            for id in ids {
                if let Some(at) = self.read(program, id)?.iter().position(|v| !v.is_finite()) {
                    return Ok(Some((i, id, at)));
                }
            }
        }
        Ok(None)
    }

    fn poison(&mut self, program: Program) -> Result<()> {
        for block in self.programs[program.0].blocks.clone() {
            let nan = vec![0x7fc0_0000u32; block.size() as usize / 4];
            self.upload(&block, 0, bytemuck::cast_slice(&nan));
        }
        Ok(())
    }
}

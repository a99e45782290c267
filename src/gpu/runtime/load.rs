//! Loading: plans a lowered graph into a few buffers, compiles the kernels that are new, and binds what each launch reads
//! and writes.

use super::{GpuRuntime, Launch, Loaded, checked, checked_buffer};
use crate::error::{DeviceError, OutOfMemory, Result, Room};
use crate::gpu::lower::{check, lower};
use crate::gpu::pipeline::Pipeline;
use crate::gpu::sums::{Late, gather};
use crate::graph::Graph;
use crate::launch::{Dispatch, Lowered, Source, View};
use crate::memory;
use crate::plan::{Item, Place, Plan, Policy, lifetimes};
use crate::port::named;
use crate::runtime::Variants;
use crate::step::StepParams;
use crate::tensor::{BINDING_ALIGN, Bank, Precision, Role, TensorId};
use rayon::prelude::*;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;

/// Elements that kernels can index, in u32.
const MOST_ELEMENTS: u64 = 1 << 32;

/// A graph before anything of it is allocated.
pub(super) struct Planned {
    /// As the ops said.
    said: Lowered,
    /// As it runs, and which gradients it has later than the ops said.
    lowered: Lowered,
    late: Vec<Late>,
    /// Tensors outside the banks: the first of the items, the others are scratch memory.
    ids: Vec<TensorId>,
    items: Vec<Item>,
    plan: Plan,
    /// Bytes of everything but the banks.
    pub(super) bytes: usize,
}

/// Where the storage of a program's launches lies.
struct Memory<'a> {
    graph: &'a Graph,
    banks: &'a [Option<wgpu::Buffer>],
    blocks: &'a [wgpu::Buffer],
    slots: &'a wgpu::Buffer,
    /// Block and byte range of each tensor outside the banks.
    tensors: &'a [Option<(usize, Range<usize>)>],
    scratch: &'a [Place],
}

impl Memory<'_> {
    /// The buffer of a view, and its first byte there.
    fn find(&self, view: &View) -> (&wgpu::Buffer, usize) {
        let (buffer, start) = match view.source {
            Source::Slots => (self.slots, 0),
            Source::Scratch(i) => (&self.blocks[self.scratch[i].block], self.scratch[i].offset),
            Source::Tensor(id) => match (self.graph.tensor(id).role, &self.tensors[id.index()]) {
                (Role::Bank(bank, offset), _) => {
                    let buffer = self.banks[bank as usize].as_ref();
                    let buffer = buffer.expect("a bank is made before what reads it is bound");
                    (buffer, offset * bank.dtype().bytes())
                }
                (_, Some((block, range))) => (&self.blocks[*block], range.start),
                (_, None) => unreachable!("every tensor of a call has a place"),
            },
        };
        (buffer, start + view.offset * view.dtype.bytes())
    }
}

impl GpuRuntime {
    /// A graph lowered and placed, if nothing in it is larger than the adapter allows.
    pub(super) fn plan(&self, graph: &Graph) -> std::result::Result<Planned, OutOfMemory> {
        let said = lower(graph, &self.gpu.caps, &self.gpu.choice());
        let (lowered, late) = gather(graph, &said, self.gpu.caps.binding_bytes);
        let (ids, items) = all_items(graph, &lowered);
        self.refuse_large(graph, &ids, &items, &lowered)?;
        let plan = Plan::with_groups(&items, &groups(&ids, &lowered), self.policy());
        let params = lowered
            .dispatches
            .iter()
            .map(|d| d.params.len().next_multiple_of(BINDING_ALIGN))
            .sum::<usize>();
        let bytes = plan
            .bytes()
            .saturating_add(params)
            .saturating_add(4 * lowered.slots);
        self.refuse_more_than_there_is(graph, bytes as u64)?;
        Ok(Planned {
            said,
            lowered,
            late,
            ids,
            items,
            plan,
            bytes,
        })
    }

    /// Refuses a program that takes so many bytes beside its banks where they are more than a card has or, with a driver that
    /// computes on the CPU, than the machine could give.
    fn refuse_more_than_there_is(&self, graph: &Graph, bytes: u64) -> std::result::Result<(), OutOfMemory> {
        let caps = &self.gpu.caps;
        let with_banks = |there: bool| {
            let counted = graph
                .banks()
                .filter(|bank| there || self.banks[*bank as usize].is_none());
            counted.fold(bytes, |sum, bank| {
                sum.saturating_add(bank.bytes(graph.bank_len()) as u64)
            })
        };
        let (what, needed) = ("the tensors of a program", with_banks(true));
        match caps.memory_bytes {
            _ if caps.software => memory::ask(what, with_banks(false)).map_err(|e| OutOfMemory {
                device: caps.adapter.clone(),
                ..e
            }),
            Some(own) if needed > own => Err(OutOfMemory {
                device: caps.adapter.clone(),
                what: what.to_owned(),
                needed,
                room: Room::Own(own),
            }),
            _ => Ok(()),
        }
    }

    fn policy(&self) -> Policy {
        let limit = usize::try_from(self.gpu.caps.buffer_bytes).unwrap_or(usize::MAX);
        Policy::Packed {
            align: BINDING_ALIGN,
            max_block: (limit / BINDING_ALIGN * BINDING_ALIGN).min(1 << 32),
        }
    }

    fn compile(&mut self, dispatches: &[Dispatch]) -> Result<Vec<usize>> {
        let mut kernels = Vec::new();
        let mut new = Vec::new();
        for dispatch in dispatches {
            let key = dispatch.kernel.key();
            if !self.by_key.contains_key(&key) {
                self.by_key.insert(key.clone(), self.pipelines.len() + new.len());
                new.push(dispatch.kernel.clone());
            }
            kernels.push(self.by_key[&key]);
        }
        // What has the longest text, and takes the driver the longest, first, and each for the next thread that is free.
        let lengths: Vec<usize> = new
            .par_iter()
            .map(|kernel| kernel.expand().map_or(0, |text| text.len()))
            .collect();
        let mut order: Vec<usize> = (0..new.len()).collect();
        order.sort_by_key(|i| Reverse(lengths[*i]));
        let made = order.into_iter().par_bridge();
        let made: Result<BTreeMap<usize, Pipeline>> =
            made.map(|i| Ok((i, self.compiler.take(&new[i])?))).collect();
        match made {
            Ok(made) => self.pipelines.extend(made.into_values()),
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

    /// What [`Runtime::load`](crate::runtime::Runtime::load) keeps.
    ///
    /// Blocks take what is `there` before new buffers are made.
    pub(super) fn prepare(&mut self, graph: &Graph, there: &[wgpu::Buffer]) -> Result<Loaded> {
        let Planned {
            said,
            lowered,
            late,
            ids,
            items,
            plan,
            mut bytes,
        } = self.plan(graph)?;
        let sizes: Vec<(usize, u8)> = there.iter().map(|buffer| (buffer.size() as usize, 0)).collect();
        if graph.precision() == Precision::Mixed && !self.gpu.caps.f16 {
            return Err(DeviceError::Limit {
                adapter: self.gpu.caps.adapter.clone(),
                limit: "16-bit floats in shaders",
                needed: 1,
                available: 0,
                what: "mixed precision".to_owned(),
            }
            .into());
        }
        let storage = wgpu::BufferUsages::STORAGE;
        let taken = plan.fit_into(&sizes);
        let free = plan
            .blocks
            .iter()
            .zip(&taken)
            .filter(|(_, taken)| taken.is_none());
        let mut new: Vec<(String, usize)> = free.map(|(&size, _)| ("activations".to_owned(), size)).collect();
        let missing = graph.banks().filter(|bank| self.banks[*bank as usize].is_none());
        let missing: Vec<Bank> = missing.collect();
        new.extend(
            missing
                .iter()
                .map(|bank| (format!("{bank:?}").to_lowercase(), bank.bytes(graph.bank_len()))),
        );
        let gpu = Arc::clone(&self.gpu);
        let (kernels, made) = std::thread::scope(|scope| {
            // 20 to 33 ms a GiB on an H200, while the driver compiles.
            let made = scope.spawn(|| -> Result<Vec<wgpu::Buffer>> {
                let new = new.iter();
                new.map(|(what, bytes)| checked_buffer(&gpu, what, *bytes, storage))
                    .collect()
            });
            (
                self.compile(&lowered.dispatches),
                made.join().expect("what fails is returned"),
            )
        });
        let kernels = kernels?;
        check(graph, &said).map_err(|e| self.gpu.driver_error(e.to_string()))?;
        let mut made = made?.into_iter();
        let mut blocks = Vec::with_capacity(plan.blocks.len());
        for (&size, taken) in plan.blocks.iter().zip(taken) {
            if let Some(i) = taken {
                blocks.push(there[i].clone());
                bytes -= size;
            } else {
                blocks.extend(made.next());
            }
        }
        for (bank, buffer) in missing.into_iter().zip(made) {
            self.banks[bank as usize] = Some(buffer);
        }
        let slots = self.buffer("slots", 4 * lowered.slots, storage)?;
        let mut places = vec![None; graph.tensors().len()];
        for (id, (place, item)) in ids.iter().zip(plan.places.iter().zip(&items)) {
            places[id.index()] = Some((place.block, place.offset..place.offset + item.bytes));
        }

        let mut params = Vec::new();
        let mut param_at = Vec::new();
        for dispatch in &lowered.dispatches {
            param_at.push(params.len());
            params.extend_from_slice(&dispatch.params);
            params.resize(params.len().next_multiple_of(BINDING_ALIGN), 0);
        }
        let params_buffer = self.buffer("params", params.len(), wgpu::BufferUsages::UNIFORM)?;
        self.upload(&params_buffer, 0, &params);

        let memory = Memory {
            graph,
            banks: &self.banks,
            blocks: &blocks,
            slots: &slots,
            tensors: &places,
            scratch: &plan.places[ids.len()..],
        };
        let mut launches = Vec::with_capacity(lowered.dispatches.len());
        for ((dispatch, &pipeline), &param) in lowered.dispatches.iter().zip(&kernels).zip(&param_at) {
            launches.push(Launch {
                call: dispatch.call,
                pipeline,
                bind_group: self.bind(dispatch, pipeline, &memory, (&params_buffer, param))?,
                grid: dispatch.grid,
            });
        }
        Ok(Loaded {
            graph: graph.clone(),
            variants: variants(graph, &lowered),
            launches,
            late,
            blocks,
            slots,
            places,
            bytes,
        })
    }

    /// Refuses tensors and scratch memory that are larger than what a buffer holds or a kernel can index or be given.
    fn refuse_large(
        &self,
        graph: &Graph,
        ids: &[TensorId],
        items: &[Item],
        lowered: &Lowered,
    ) -> std::result::Result<(), OutOfMemory> {
        let refuse = |what: String, needed: usize, room: Room| {
            Err(OutOfMemory {
                device: self.gpu.caps.adapter.clone(),
                what,
                needed: needed as u64,
                room,
            })
        };
        let name = |source: Source| match source {
            Source::Tensor(id) => graph.tensor(id).name.clone(),
            Source::Scratch(i) => {
                let call = &graph.calls()[*lowered.scratch[i].calls.start()];
                let (op, pass) = (call.op.name(), call.pass.suffix());
                let scope = if call.scope.is_empty() { "" } else { " of " };
                format!("scratch memory of {op}_{pass}{scope}{}", call.scope)
            }
            Source::Slots => "slots".to_owned(),
        };
        let scratch = (0..lowered.scratch.len()).map(Source::Scratch);
        let sources = ids.iter().map(|id| Source::Tensor(*id)).chain(scratch);
        let banks = graph
            .banks()
            .map(|bank| (format!("{bank:?}").to_lowercase(), bank.bytes(graph.bank_len())));
        let all = sources
            .zip(items)
            .map(|(source, item)| (name(source), item.bytes));
        let most = self.gpu.caps.buffer_bytes;
        for (what, bytes) in all.chain(banks) {
            if bytes as u64 > most {
                return refuse(what, bytes, Room::Buffer(most));
            }
        }
        let most = self.gpu.caps.binding_bytes;
        for (_, view) in lowered.dispatches.iter().flat_map(|d| &d.bindings) {
            let width = view.dtype.bytes();
            let bytes = view.len.saturating_mul(width);
            if bytes as u64 > most {
                return refuse(name(view.source), bytes, Room::Binding(most));
            }
            if view.len as u64 > MOST_ELEMENTS {
                return refuse(
                    name(view.source),
                    bytes,
                    Room::Index(MOST_ELEMENTS * width as u64),
                );
            }
        }
        Ok(())
    }

    /// The bindings of a launch; `params` is the buffer of its uniform, and its first byte there.
    fn bind(
        &self,
        dispatch: &Dispatch,
        pipeline: usize,
        memory: &Memory<'_>,
        params: (&wgpu::Buffer, usize),
    ) -> Result<wgpu::BindGroup> {
        let made = &self.pipelines[pipeline];
        let entries: Vec<wgpu::BindGroupEntry<'_>> = made
            .reflection
            .bindings
            .iter()
            .map(|binding| {
                let (buffer, offset, size) = match binding.name.as_str() {
                    "params" => (params.0, params.1, dispatch.params.len().next_multiple_of(16)),
                    "step" => (&self.step, 0, size_of::<StepParams>()),
                    name => {
                        let view = named(&dispatch.bindings, name).expect("bindings were checked");
                        let (buffer, offset) = memory.find(view);
                        let bytes = (view.len * view.dtype.bytes()).next_multiple_of(4);
                        (buffer, offset, bytes)
                    }
                };
                wgpu::BindGroupEntry {
                    binding: binding.index,
                    resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                        buffer,
                        offset: offset as u64,
                        size: NonZeroU64::new(size as u64),
                    }),
                }
            })
            .collect();
        let desc = wgpu::BindGroupDescriptor {
            label: Some(dispatch.kernel.path),
            layout: &made.layout,
            entries: &entries,
        };
        checked(&self.gpu, &dispatch.kernel.key(), 0, || {
            self.gpu.device.create_bind_group(&desc)
        })
    }
}

/// The variants that the ops of a graph run in, of those that have several.
fn variants(graph: &Graph, lowered: &Lowered) -> Variants {
    let mut all = Variants::new();
    for (call, variant) in graph.calls().iter().zip(&lowered.variants) {
        if call.op.variants().len() > 1 {
            let of_op = all.entry(call.op.name().to_owned()).or_default();
            of_op.insert((*variant).to_owned());
        }
    }
    all
}

/// The items of tensors that lie one behind another.
fn groups(ids: &[TensorId], lowered: &Lowered) -> Vec<Vec<usize>> {
    let item = |id: &TensorId| ids.binary_search(id).expect("only what is placed is joined");
    let of = |group: &Vec<TensorId>| group.iter().map(item).collect();
    lowered.joined.iter().map(of).collect()
}

/// Tensors and scratch of a lowered graph as items to place; the tensors' ids come first.
fn all_items(graph: &Graph, lowered: &Lowered) -> (Vec<TensorId>, Vec<Item>) {
    let (ids, mut items) = lifetimes(graph);
    for (id, item) in ids.iter().zip(&mut items) {
        item.class = 0;
        item.bytes = lowered.rooms.get(id).copied().unwrap_or(item.bytes);
    }
    items.extend(lowered.scratch.iter().map(|scratch| Item {
        bytes: 4 * scratch.words,
        first: *scratch.calls.start(),
        last: *scratch.calls.end(),
        class: 0,
    }));
    (ids, items)
}

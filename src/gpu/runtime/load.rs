//! Loading: plans a lowered graph into a few buffers, compiles the kernels that are new, and binds what each launch reads
//! and writes.

use super::{ALIGN, GpuRuntime, Launch, Loaded, buffer};
use crate::error::{DeviceError, Result};
use crate::gpu::lower::lower;
use crate::gpu::pipeline::Pipeline;
use crate::graph::Graph;
use crate::launch::{Dispatch, Source, View};
use crate::plan::{Item, Place, Plan, Policy, lifetimes};
use crate::shader::{Kernel, ShaderError, reflect};
use crate::step::StepParams;
use crate::tensor::{Bank, Dtype, Role, TensorId};
use rayon::prelude::*;
use std::num::NonZeroU64;
use std::ops::Range;

/// Where the storage of a program's launches lies.
struct Memory<'a> {
    graph: &'a Graph,
    banks: &'a [wgpu::Buffer],
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
                (Role::Bank(bank, offset), _) => (&self.banks[bank as usize], 4 * offset),
                (_, Some((block, range))) => (&self.blocks[*block], range.start),
                (_, None) => unreachable!("every tensor of a call has a place"),
            },
        };
        (buffer, start + view.offset * view.dtype.bytes())
    }
}

impl GpuRuntime {
    /// Bytes that a graph would take on this adapter, the banks not included, without allocating anything.
    pub fn planned_bytes(&self, graph: &Graph) -> usize {
        let lowered = lower(graph, &self.gpu.caps);
        let (_, items) = all_items(graph, &lowered.scratch);
        Plan::new(&items, self.policy()).bytes()
    }

    fn policy(&self) -> Policy {
        let limit = usize::try_from(self.gpu.caps.buffer_bytes).unwrap_or(usize::MAX);
        Policy::Packed {
            align: ALIGN,
            max_block: (limit / ALIGN * ALIGN).min(1 << 32),
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

    /// What [`Runtime::load`](crate::runtime::Runtime::load) keeps.
    pub(super) fn prepare(&mut self, graph: &Graph) -> Result<Loaded> {
        self.make_banks(graph.bank_len())?;
        let lowered = lower(graph, &self.gpu.caps);
        let (ids, items) = all_items(graph, &lowered.scratch);
        self.refuse_large(graph, &ids, &items)?;
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

        let mut params = Vec::new();
        let mut param_at = Vec::new();
        for dispatch in &lowered.dispatches {
            param_at.push(params.len());
            params.extend_from_slice(&dispatch.params);
            params.resize(params.len().next_multiple_of(ALIGN), 0);
        }
        let params_buffer = buffer(&self.gpu, "params", params.len(), wgpu::BufferUsages::UNIFORM);
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
        let bytes = plan.bytes() + params.len() + 4 * lowered.slots;
        Ok(Loaded {
            graph: graph.clone(),
            launches,
            blocks,
            slots,
            places,
            bytes,
        })
    }

    /// Refuses tensors that are larger than what a kernel can be given.
    fn refuse_large(&self, graph: &Graph, ids: &[TensorId], items: &[Item]) -> Result<()> {
        let available = self.gpu.caps.binding_bytes;
        let too_large = ids.iter().zip(items).find(|(_, i)| i.bytes as u64 > available);
        let Some((id, item)) = too_large else {
            return Ok(());
        };
        Err(DeviceError::Limit {
            adapter: self.gpu.caps.adapter.clone(),
            limit: "largest storage binding, bytes",
            needed: item.bytes as u64,
            available,
            what: graph.tensor(*id).name.clone(),
        }
        .into())
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
        let mut storage = dispatch.bindings.iter();
        let entries: Vec<wgpu::BindGroupEntry<'_>> = made
            .bindings
            .iter()
            .enumerate()
            .map(|(i, name)| {
                let (buffer, offset, size) = match name.as_str() {
                    "params" => (params.0, params.1, dispatch.params.len().next_multiple_of(16)),
                    "step" => (&self.step, 0, size_of::<StepParams>()),
                    _ => {
                        let view = storage.next().expect("a launch binds what its shader declares");
                        let (buffer, offset) = memory.find(view);
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
                        size: NonZeroU64::new(size as u64),
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
        self.checked(&dispatch.kernel.key(), || {
            self.gpu.device.create_bind_group(&desc)
        })
    }
}

/// The kernel of a dispatch with storage types written in.
fn typed(dispatch: &Dispatch) -> Result<Kernel> {
    if dispatch.bindings.iter().all(|v| v.dtype != Dtype::F16) {
        return Ok(dispatch.kernel.clone());
    }
    let broken = |e: ShaderError| DeviceError::Driver {
        adapter: String::new(),
        message: e.to_string(),
    };
    let text = dispatch.kernel.expand().map_err(broken)?;
    let (_, reflection) = reflect(&dispatch.kernel, &text).map_err(broken)?;
    let has = |name: &str| text.contains(&format!("alias {name} ="));
    Ok(dispatch.typed_kernel(&reflection.bindings, has))
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

//! The GPU executor: plans a lowered graph into a few buffers, compiles its kernels, and replays its dispatches.
//!
//! `load` places and compiles, `encode` replays, `transfer` copies to and from the host and waits. Here is what they share,
//! and [`Runtime`] in their terms.

mod encode;
mod load;
mod transfer;

use super::compiler::KernelCompiler;
use super::device::Gpu;
use super::lower::{lower, offered};
use super::pipeline::Pipeline;
use super::sums::Late;
use crate::error::{OutOfMemory, Result, Room};
use crate::graph::Graph;
use crate::ops::Op;
use crate::runtime::{Compiler, Data, Program, Runtime, Ticket, Variants};
use crate::step::StepParams;
use crate::tensor::{BINDING_ALIGN, Bank, Dtype, Precision, TensorId};
use half::f16;
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use transfer::Ring;

/// Words that are poisoned at a time.
const POISON_WORDS: usize = 1 << 20;

/// Not a number, as one f32 and as two f16.
const NAN_BITS: u32 = 0x7fff_7fff;

/// One encoded launch.
struct Launch {
    call: usize,
    pipeline: usize,
    bind_group: wgpu::BindGroup,
    grid: [u32; 3],
}

struct Loaded {
    graph: Graph,
    variants: Variants,
    launches: Vec<Launch>,
    late: Vec<Late>,
    blocks: Vec<wgpu::Buffer>,
    slots: wgpu::Buffer,
    /// Block and byte range of each tensor outside the banks.
    places: Vec<Option<(usize, Range<usize>)>>,
    /// Bytes that are its own.
    bytes: usize,
}

/// See the module docs.
pub struct GpuRuntime {
    gpu: Arc<Gpu>,
    compiler: Arc<KernelCompiler>,
    /// By [`Bank`], those that programs take.
    banks: [Option<wgpu::Buffer>; Bank::ALL.len()],
    step: wgpu::Buffer,
    last_step: Option<StepParams>,
    pipelines: Vec<Pipeline>,
    by_key: HashMap<String, usize>,
    programs: Vec<Loaded>,
    encoder: Option<wgpu::CommandEncoder>,
    ring: Ring,
}

impl GpuRuntime {
    /// An executor on an open device.
    pub fn new(gpu: Gpu) -> Self {
        let gpu = Arc::new(gpu);
        let step = buffer(&gpu, "step", size_of::<StepParams>(), wgpu::BufferUsages::UNIFORM);
        Self {
            compiler: Arc::new(KernelCompiler::new(Arc::clone(&gpu))),
            gpu,
            banks: Default::default(),
            step,
            last_step: None,
            pipelines: Vec::new(),
            by_key: HashMap::new(),
            programs: Vec::new(),
            encoder: None,
            ring: Ring::default(),
        }
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Lets every op that has a variant of this name run it, in what is loaded from now on.
    pub fn force(&mut self, variant: Option<&'static str>) {
        self.gpu.choose(|choice| choice.forced = variant);
    }

    /// The names of an op's variants that this device runs at a precision, best first.
    pub fn offers(&self, op: &Op, precision: Precision) -> Vec<&'static str> {
        let choice = self.gpu.choice();
        let all = offered(op, precision.activation(), &self.gpu.caps, &choice);
        all.map(|variant| variant.name).collect()
    }

    /// Whether a call of a graph is run in the variant of this name.
    pub fn runs(&self, graph: &Graph, variant: &str) -> bool {
        let lowered = lower(graph, &self.gpu.caps, &self.gpu.choice());
        lowered.variants.contains(&variant)
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

    /// Loads a graph into the buffers that are there, and new ones where they do not suffice.
    fn load_into(&mut self, graph: &Graph, there: &[wgpu::Buffer]) -> Result<Program> {
        self.submit();
        let loaded = match self.prepare(graph, there) {
            Ok(loaded) => loaded,
            Err(e) => {
                // What was allocated in vain is freed when the device next looks.
                self.poll(true)?;
                return Err(e);
            }
        };
        self.programs.push(loaded);
        Ok(Program(self.programs.len() - 1))
    }

    fn buffer(&self, what: &str, bytes: usize, usage: wgpu::BufferUsages) -> Result<wgpu::Buffer> {
        checked_buffer(&self.gpu, what, bytes, usage)
    }
}

/// Creates something of so many bytes, and keeps the type of what went wrong.
fn checked<T>(gpu: &Gpu, what: &str, bytes: usize, create: impl FnOnce() -> T) -> Result<T> {
    let memory = gpu.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let validation = gpu.device.push_error_scope(wgpu::ErrorFilter::Validation);
    let made = create();
    let errors = [
        pollster::block_on(validation.pop()),
        pollster::block_on(memory.pop()),
    ];
    match errors.into_iter().flatten().next() {
        None => Ok(made),
        Some(wgpu::Error::OutOfMemory { .. }) => Err(OutOfMemory {
            device: gpu.caps.adapter.clone(),
            what: what.to_owned(),
            needed: bytes as u64,
            room: Room::Free(None),
        }
        .into()),
        Some(e) => Err(gpu.driver_error(format!("{what}: {e}")).into()),
    }
}

fn checked_buffer(gpu: &Gpu, what: &str, bytes: usize, usage: wgpu::BufferUsages) -> Result<wgpu::Buffer> {
    checked(gpu, what, bytes, || buffer(gpu, what, bytes, usage))
}

/// Bytes of f16, filled up to whole words.
fn halves(values: impl Iterator<Item = f16>) -> Vec<u8> {
    let mut bytes: Vec<u8> = values.flat_map(f16::to_le_bytes).collect();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn buffer(gpu: &Gpu, label: &str, bytes: usize, usage: wgpu::BufferUsages) -> wgpu::Buffer {
    gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some(label),
        size: bytes.max(4).next_multiple_of(BINDING_ALIGN) as u64,
        usage: usage | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
        mapped_at_creation: false,
    })
}

impl Runtime for GpuRuntime {
    fn device(&self) -> String {
        self.gpu.description().to_owned()
    }

    fn fits(&self, graph: &Graph) -> std::result::Result<u64, OutOfMemory> {
        Ok(self.plan(graph)?.bytes as u64)
    }

    fn enough_bytes(&self) -> Option<u64> {
        None
    }

    fn load(&mut self, graph: &Graph) -> Result<Program> {
        self.load_into(graph, &[])
    }

    fn load_beside(&mut self, graph: &Graph, beside: Program) -> Result<Program> {
        let there = self.programs[beside.0].blocks.clone();
        self.load_into(graph, &there)
    }

    fn compiler(&self) -> Option<Arc<dyn Compiler>> {
        Some(Arc::clone(&self.compiler) as Arc<dyn Compiler>)
    }

    fn reset(&mut self) {
        self.submit();
        self.programs.clear();
        self.banks = Default::default();
    }

    fn program_bytes(&self, program: Program) -> usize {
        self.programs[program.0].bytes
    }

    fn total_bytes(&self) -> usize {
        let banks: u64 = self.banks.iter().flatten().map(wgpu::Buffer::size).sum();
        banks as usize + self.programs.iter().map(|p| p.bytes).sum::<usize>()
    }

    fn launches(&self, program: Program) -> usize {
        self.programs[program.0].launches.len()
    }

    fn variants(&self, program: Program) -> Variants {
        self.programs[program.0].variants.clone()
    }

    fn write(&mut self, program: Program, tensor: TensorId, data: Data<'_>) -> Result<()> {
        let Some((target, range)) = self.location(program, tensor) else {
            return Ok(());
        };
        let half = self.programs[program.0].graph.tensor(tensor).dtype == Dtype::F16;
        let bytes = match data {
            Data::F32(x) if half => Cow::Owned(halves(x.iter().map(|v| f16::from_f32(*v)))),
            Data::F64(x) if half => Cow::Owned(halves(x.iter().map(|v| f16::from_f64(*v)))),
            Data::F32(x) => Cow::Borrowed(bytemuck::cast_slice(x)),
            Data::U32(x) => Cow::Borrowed(bytemuck::cast_slice(x)),
            Data::F64(x) => {
                let narrowed: Vec<f32> = x.iter().map(|v| *v as f32).collect();
                Cow::Owned(bytemuck::cast_slice(&narrowed).to_vec())
            }
        };
        // Copies are made of whole words; what lies behind a tensor belongs to nobody.
        assert_eq!(
            bytes.len(),
            range.len().next_multiple_of(if half { 4 } else { 1 }),
            "the host writes whole tensors"
        );
        self.upload(&target, range.start, &bytes);
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
        if let Some(bank) = self.banks[bank as usize].clone() {
            let mut encoder = self.encoder();
            encoder.clear_buffer(&bank, 0, None);
            self.encoder = Some(encoder);
        }
        Ok(())
    }

    fn write_bank(&mut self, bank: Bank, data: &[f32]) -> Result<()> {
        if let Some(target) = self.banks[bank as usize].clone() {
            self.upload(&target, 0, bytemuck::cast_slice(data));
        }
        Ok(())
    }

    fn read_bank(&mut self, bank: Bank) -> Result<Vec<f32>> {
        let Some(source) = self.banks[bank as usize].clone() else {
            return Ok(Vec::new());
        };
        let len = self.programs.iter().map(|p| p.graph.bank_len()).max();
        let bytes = self.download(&source, 0..bank.bytes(len.unwrap_or(0)))?;
        Ok(bytemuck::pod_collect_to_vec(&bytes))
    }

    fn read(&mut self, program: Program, tensor: TensorId) -> Result<Vec<f64>> {
        let (source, range) = self
            .location(program, tensor)
            .expect("only tensors that calls touch are read");
        let bytes = self.download(&source, range)?;
        if self.programs[program.0].graph.tensor(tensor).dtype == Dtype::F16 {
            let (halves, _) = bytes.as_chunks();
            return Ok(halves.iter().map(|b| f16::from_le_bytes(*b).to_f64()).collect());
        }
        let values: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes);
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
        Ok(self.fetch_range(&source, range))
    }

    fn take(&mut self, ticket: Ticket, wait: bool) -> Result<Option<Vec<f32>>> {
        self.take_copy(ticket, wait)
    }

    fn wait(&mut self) -> Result<()> {
        self.submit();
        self.poll(true)
    }

    fn profile(&mut self, program: Program, step: &StepParams) -> Result<Vec<Duration>> {
        self.time_calls(program, step)
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
            let own = call.touches().map(|id| (i, id));
            let late = self.programs[program.0]
                .late
                .iter()
                .filter(|late| late.after == i);
            let touched: Vec<(usize, TensorId)> = late
                .map(|late| (late.call, late.tensor))
                .chain(own)
                .filter(|(_, id)| graph.tensor(*id).dtype != Dtype::U32)
                .collect();
            for (i, id) in touched {
                if let Some(at) = self.read(program, id)?.iter().position(|v| !v.is_finite()) {
                    return Ok(Some((i, id, at)));
                }
            }
        }
        Ok(None)
    }

    fn poison(&mut self, program: Program) -> Result<()> {
        let nan = vec![NAN_BITS; POISON_WORDS];
        for block in self.programs[program.0].blocks.clone() {
            for first in (0..block.size() as usize / 4).step_by(POISON_WORDS) {
                let words = POISON_WORDS.min(block.size() as usize / 4 - first);
                self.upload(&block, 4 * first, bytemuck::cast_slice(&nan[..words]));
            }
        }
        Ok(())
    }
}

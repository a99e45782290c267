//! Walks a planned graph call by call, handing each op's twin slices of the storage.

use crate::error::{OutOfMemory, Result, UserError};
use crate::graph::{Call, Graph, Output};
use crate::memory;
use crate::plan::{Plan, Policy, lifetimes};
use crate::port::Pass;
use crate::runtime::{Compiler, Data, Program, Runtime, Ticket};
use crate::step::StepParams;
use crate::tensor::{Bank, Dtype, Precision, Role, TensorId, TensorInfo};
use crate::twin::{In, Out, Real, Slices};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of activations that one program may take: beyond, smaller micro-batches are as fast.
const ENOUGH_BYTES: u64 = 1 << 30;

/// Storage of one block or bank.
enum Store<R> {
    Real(Vec<R>),
    Int(Vec<u32>),
}

impl<R> Default for Store<R> {
    fn default() -> Self {
        Self::Int(Vec::new())
    }
}

struct Loaded {
    graph: Graph,
    /// Store and element range of each tensor, `None` for tensors that no call touches.
    places: Vec<Option<(usize, Range<usize>)>>,
    /// Bytes that are its own.
    bytes: usize,
    /// Store of each block.
    stores: Vec<usize>,
}

/// The executor behind `--device cpu` (R = f32) and the oracle (R = f64).
pub struct CpuRuntime<R> {
    /// The banks first, then the blocks of all programs.
    stores: Vec<Store<R>>,
    programs: Vec<Loaded>,
    fetched: HashMap<Ticket, Vec<f32>>,
    tickets: u64,
}

impl<R: Real> Default for CpuRuntime<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Real> CpuRuntime<R> {
    /// An executor without programs.
    pub fn new() -> Self {
        let stores = Bank::ALL.iter().map(|_| Store::Real(Vec::new())).collect();
        Self {
            stores,
            programs: Vec::new(),
            fetched: HashMap::new(),
            tickets: 0,
        }
    }

    /// Bytes of the banks that loading a graph would make.
    fn new_bank_bytes(&self, graph: &Graph) -> u64 {
        let missing = |bank: &Bank| matches!(&self.stores[*bank as usize], Store::Real(x) if x.is_empty());
        graph.banks().filter(missing).fold(0, |sum, bank| {
            sum.saturating_add(memory::bytes_of::<R>(bank.elements(graph.bank_len())))
        })
    }

    /// Asks for so many bytes, of f32, and for a graph's banks that are still to be made. Returns bytes without these.
    fn ask(&self, graph: &Graph, new: usize) -> std::result::Result<u64, OutOfMemory> {
        let blocks = memory::bytes_of::<R>(new / 4);
        let bytes = blocks.saturating_add(self.new_bank_bytes(graph));
        memory::ask("the tensors of a program", bytes).map_err(|e| OutOfMemory {
            device: self.device(),
            ..e
        })?;
        Ok(blocks)
    }

    /// Plans a graph into the stores that are there, and new ones where they do not suffice.
    fn place_graph(&mut self, graph: &Graph, there: &[usize]) -> Result<Program> {
        if graph.precision() != Precision::F32 {
            return Err(UserError::Value {
                place: self.device(),
                field: "precision".to_owned(),
                found: "mixed".to_owned(),
                allowed: "f32".to_owned(),
            }
            .into());
        }
        let (ids, items) = lifetimes(graph);
        let plan = Plan::new(&items, Policy::OneAtATime);
        let sizes: Vec<(usize, u8)> = there
            .iter()
            .map(|&store| match &self.stores[store] {
                Store::Real(x) => (4 * x.len(), 0),
                Store::Int(x) => (4 * x.len(), 1),
            })
            .collect();
        let taken = plan.fit_into(&sizes);
        let new = plan
            .blocks
            .iter()
            .zip(&taken)
            .filter(|(_, taken)| taken.is_none());
        let new = new.fold(0, |sum: usize, (&bytes, _)| sum.saturating_add(bytes));
        self.ask(graph, new)?;
        for bank in graph.banks() {
            if let Store::Real(x) = &mut self.stores[bank as usize]
                && x.is_empty()
            {
                x.resize(bank.elements(graph.bank_len()), R::ZERO);
            }
        }
        let mut stores = Vec::with_capacity(plan.blocks.len());
        for ((&bytes, &class), taken) in plan.blocks.iter().zip(&plan.classes).zip(taken) {
            stores.push(taken.map_or(self.stores.len(), |i| there[i]));
            if taken.is_none() {
                self.stores.push(match class {
                    0 => Store::Real(vec![R::ZERO; bytes / 4]),
                    _ => Store::Int(vec![0; bytes / 4]),
                });
            }
        }
        let bank_place = |info: &TensorInfo| match info.role {
            Role::Bank(bank, offset) => Some((bank as usize, offset..offset + info.numel())),
            _ => None,
        };
        let mut places: Vec<_> = graph.tensors().iter().map(bank_place).collect();
        for (id, place) in ids.iter().zip(&plan.places) {
            places[id.index()] = Some((stores[place.block], 0..graph.tensor(*id).numel()));
        }
        self.programs.push(Loaded {
            graph: graph.clone(),
            places,
            bytes: new / 4 * size_of::<R>(),
            stores,
        });
        Ok(Program(self.programs.len() - 1))
    }

    fn place(&self, program: Program, tensor: TensorId) -> (usize, Range<usize>) {
        self.programs[program.0].places[tensor.index()]
            .clone()
            .expect("only tensors that calls touch are asked for")
    }

    fn real(&self, program: Program, tensor: TensorId) -> &[R] {
        let (store, range) = self.place(program, tensor);
        match &self.stores[store] {
            Store::Real(x) => &x[range],
            Store::Int(_) => panic!("asked for numbers of an integer tensor"),
        }
    }

    fn run_call(&mut self, program: usize, index: usize, step: &StepParams) {
        let loaded = &self.programs[program];
        let call = &loaded.graph.calls()[index];
        // Written stores leave the list while the call runs, so that slices of the others can be shared.
        let mut written: BTreeMap<usize, Store<R>> = BTreeMap::new();
        for id in call.writes() {
            let (store, _) = place_of(loaded, id);
            written
                .entry(store)
                .or_insert_with(|| std::mem::take(&mut self.stores[store]));
        }
        let read = |id: &TensorId| {
            let (store, range) = place_of(loaded, *id);
            assert!(
                !written.contains_key(&store),
                "{}: an input lies in a written store",
                call.op.name()
            );
            match &self.stores[store] {
                Store::Real(x) => In::Real(&x[range]),
                Store::Int(x) => In::Int(&x[range]),
            }
        };
        let each =
            |all: &[(&'static str, TensorId)]| all.iter().map(|(name, id)| (*name, read(id))).collect();
        let mut t = Slices {
            reads: each(&call.tensors.reads),
            grads: each(&call.tensors.grads),
            ..Slices::default()
        };
        for (store, data) in &mut written {
            slice_outputs(loaded, call, *store, data, &mut t);
        }
        match call.pass {
            Pass::Forward => call.op.cpu_fwd(step, t),
            Pass::Backward => call.op.cpu_bwd(step, t),
        }
        for (store, data) in written {
            self.stores[store] = data;
        }
    }
}

fn place_of(loaded: &Loaded, id: TensorId) -> (usize, Range<usize>) {
    loaded.places[id.index()]
        .clone()
        .expect("every tensor of a call has a place")
}

/// Hands out disjoint slices of one store to the outputs that lie in it.
fn slice_outputs<'a, R: Real>(
    loaded: &Loaded,
    call: &Call,
    store: usize,
    data: &'a mut Store<R>,
    t: &mut Slices<'a, R>,
) {
    let outs = call.tensors.writes.iter().map(|out| (out, false));
    let all = outs.chain(call.tensors.wanted.iter().map(|out| (out, true)));
    let mut parts: Vec<(Range<usize>, &'static str, Output, bool)> = Vec::new();
    for ((name, out), gradient) in all {
        let (s, range) = place_of(loaded, out.tensor);
        if s == store {
            parts.push((range, name, *out, gradient));
        }
    }
    parts.sort_by_key(|p| p.0.start);
    let mut give = |name, slice, gradient| {
        let list = if gradient { &mut t.wanted } else { &mut t.writes };
        list.push((name, slice));
    };
    match data {
        Store::Real(all) => {
            let mut rest: &mut [R] = all;
            let mut at = 0;
            for (range, name, out, gradient) in parts {
                let (_, tail) = rest.split_at_mut(range.start - at);
                let (data, tail) = tail.split_at_mut(range.len());
                let accumulate = out.accumulate;
                give(name, Out::Real { data, accumulate }, gradient);
                rest = tail;
                at = range.end;
            }
        }
        Store::Int(all) => {
            // Integer tensors have a store each.
            if let Some((range, name, _, gradient)) = parts.into_iter().next() {
                give(name, Out::Int(&mut all[range]), gradient);
            }
        }
    }
}

fn convert<A: Copy, B>(to: &mut [B], from: &[A], f: impl Fn(A) -> B) {
    assert_eq!(to.len(), from.len(), "the host writes whole tensors");
    for (to, from) in to.iter_mut().zip(from) {
        *to = f(*from);
    }
}

impl<R: Real> Runtime for CpuRuntime<R> {
    fn device(&self) -> String {
        let threads = match rayon::current_num_threads() {
            1 => "1 thread".to_owned(),
            n => format!("{n} threads"),
        };
        format!("CPU ({threads}, f{})", 8 * size_of::<R>())
    }

    fn fits(&self, graph: &Graph) -> std::result::Result<u64, OutOfMemory> {
        self.ask(graph, Plan::new(&lifetimes(graph).1, Policy::OneAtATime).bytes())
    }

    fn enough_bytes(&self) -> Option<u64> {
        Some(ENOUGH_BYTES)
    }

    fn load(&mut self, graph: &Graph) -> Result<Program> {
        self.place_graph(graph, &[])
    }

    fn load_beside(&mut self, graph: &Graph, beside: Program) -> Result<Program> {
        let stores = self.programs[beside.0].stores.clone();
        self.place_graph(graph, &stores)
    }

    fn compiler(&self) -> Option<Arc<dyn Compiler>> {
        None
    }

    fn reset(&mut self) {
        *self = Self::new();
    }

    fn program_bytes(&self, program: Program) -> usize {
        self.programs[program.0].bytes
    }

    fn total_bytes(&self) -> usize {
        let size = |s: &Store<R>| match s {
            Store::Real(x) => x.len() * size_of::<R>(),
            Store::Int(x) => x.len() * 4,
        };
        self.stores.iter().map(size).sum()
    }

    fn launches(&self, program: Program) -> usize {
        self.programs[program.0].graph.calls().len()
    }

    fn write(&mut self, program: Program, tensor: TensorId, data: Data<'_>) -> Result<()> {
        let Some((store, range)) = self.programs[program.0].places[tensor.index()].clone() else {
            return Ok(());
        };
        match (&mut self.stores[store], data) {
            (Store::Real(x), Data::F32(from)) => convert(&mut x[range], from, |v| R::of(f64::from(v))),
            (Store::Real(x), Data::F64(from)) => convert(&mut x[range], from, R::of),
            (Store::Int(x), Data::U32(from)) => convert(&mut x[range], from, |v| v),
            _ => panic!("numbers and integers are not mixed"),
        }
        Ok(())
    }

    fn run(&mut self, program: Program, step: &StepParams) -> Result<()> {
        // On a thread of the pool: from outside, each op would wake one and sleep until it is done.
        rayon::scope(|_| {
            for i in 0..self.programs[program.0].graph.calls().len() {
                self.run_call(program.0, i, step);
            }
        });
        Ok(())
    }

    fn clear_states(&mut self, program: Program) -> Result<()> {
        let loaded = &self.programs[program.0];
        for (id, _) in loaded.graph.states() {
            let (store, range) = place_of(loaded, id);
            if let Store::Real(x) = &mut self.stores[store] {
                x[range].fill(R::ZERO);
            }
        }
        Ok(())
    }

    fn clear_bank(&mut self, bank: Bank) -> Result<()> {
        if let Store::Real(x) = &mut self.stores[bank as usize] {
            x.fill(R::ZERO);
        }
        Ok(())
    }

    fn write_bank(&mut self, bank: Bank, data: &[f32]) -> Result<()> {
        if let Store::Real(x) = &mut self.stores[bank as usize] {
            convert(x, data, |v| R::of(f64::from(v)));
        }
        Ok(())
    }

    fn read_bank(&mut self, bank: Bank) -> Result<Vec<f32>> {
        match &self.stores[bank as usize] {
            Store::Real(x) => Ok(x.iter().map(|v| v.f64() as f32).collect()),
            Store::Int(_) => unreachable!("banks hold numbers"),
        }
    }

    fn read(&mut self, program: Program, tensor: TensorId) -> Result<Vec<f64>> {
        Ok(self.real(program, tensor).iter().map(|v| v.f64()).collect())
    }

    fn read_u32(&mut self, program: Program, tensor: TensorId) -> Result<Vec<u32>> {
        let (store, range) = self.place(program, tensor);
        match &self.stores[store] {
            Store::Int(x) => Ok(x[range].to_vec()),
            Store::Real(_) => panic!("asked for integers of a real tensor"),
        }
    }

    fn fetch(&mut self, program: Program, tensor: TensorId) -> Result<Ticket> {
        let values = self
            .real(program, tensor)
            .iter()
            .map(|v| v.f64() as f32)
            .collect();
        self.tickets += 1;
        self.fetched.insert(Ticket(self.tickets), values);
        Ok(Ticket(self.tickets))
    }

    fn take(&mut self, ticket: Ticket, _wait: bool) -> Result<Option<Vec<f32>>> {
        Ok(self.fetched.remove(&ticket))
    }

    fn wait(&mut self) -> Result<()> {
        Ok(())
    }

    fn profile(&mut self, program: Program, step: &StepParams) -> Result<Vec<Duration>> {
        let calls = self.programs[program.0].graph.calls().len();
        let timed = |i| {
            let start = Instant::now();
            self.run_call(program.0, i, step);
            start.elapsed()
        };
        Ok((0..calls).map(timed).collect())
    }

    fn first_not_finite(
        &mut self,
        program: Program,
        step: &StepParams,
    ) -> Result<Option<(usize, TensorId, usize)>> {
        for i in 0..self.programs[program.0].graph.calls().len() {
            self.run_call(program.0, i, step);
            let graph = &self.programs[program.0].graph;
            let call = &graph.calls()[i];
            for id in call.touches() {
                if graph.tensor(id).dtype != Dtype::U32
                    && let Some(at) = self.real(program, id).iter().position(|v| !v.is_finite())
                {
                    return Ok(Some((i, id, at)));
                }
            }
        }
        Ok(None)
    }

    fn poison(&mut self, program: Program) -> Result<()> {
        for store in self.programs[program.0].stores.clone() {
            match &mut self.stores[store] {
                Store::Real(x) => x.fill(R::of(f64::NAN)),
                Store::Int(x) => x.fill(0x7fc0_0000),
            }
        }
        Ok(())
    }
}

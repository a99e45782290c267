//! What an executor offers to training, evaluation and checks, whatever it runs on.

use crate::error::{OutOfMemory, Result};
use crate::graph::Graph;
use crate::step::StepParams;
use crate::tensor::{Bank, TensorId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The variants of their kernels that ops run in, by the op's name; without ops that have but one.
pub type Variants = BTreeMap<String, BTreeSet<String>>;

/// A graph that an executor has planned and made ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Program(pub usize);

/// A copy that is on its way from the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// Values for a tensor.
#[derive(Debug, Clone, Copy)]
pub enum Data<'a> {
    /// Numbers.
    F32(&'a [f32]),
    /// Numbers, for the f64 executor.
    F64(&'a [f64]),
    /// Integers.
    U32(&'a [u32]),
}

/// Makes what graphs need of a device beside memory, before they are loaded there, from any thread.
pub trait Compiler: Send + Sync {
    /// Compiles a graph's kernels that were not compiled before.
    ///
    /// # Errors
    /// The driver's.
    fn compile(&self, graph: &Graph) -> Result<()>;
}

/// An executor: it owns the parameter banks and any number of programs over them.
///
/// Calls queue work; [`Runtime::read`] and [`Runtime::take`] wait for it.
///
/// # Errors
/// [`OutOfMemory`] if there is no room. A GPU's methods return [`DeviceError`](crate::error::DeviceError) if its driver failed
/// or it is lost; what failed earlier may only be reported by a later call.
///
/// # Panics
/// For values or tensors that are not the program's: other lengths, numbers for integers, tensors that no call touches.
pub trait Runtime {
    /// The device in words, as results name it.
    fn device(&self) -> String;

    /// Bytes that a graph's tensors would take beside what is held already, the banks not included. Allocates nothing.
    ///
    /// # Errors
    /// [`OutOfMemory`] if [`Runtime::load`] would find no room for them.
    fn fits(&self, graph: &Graph) -> std::result::Result<u64, OutOfMemory>;

    /// Bytes of a program beyond which smaller ones are as fast, where there is such a bound.
    fn enough_bytes(&self) -> Option<u64>;

    /// Plans a graph and makes all that it needs; its states are zero. The first graph with parameters sizes the banks
    /// (all zero). Nothing is kept of a graph that does not fit.
    fn load(&mut self, graph: &Graph) -> Result<Program>;

    /// Loads a graph whose activations, inputs and results share memory with those of `beside`, as far as they find room
    /// there: what one program's run leaves, states included, is gone once the other is written to or run.
    fn load_beside(&mut self, graph: &Graph, beside: Program) -> Result<Program>;

    /// What compiles for this executor while it works, where there is anything to compile.
    fn compiler(&self) -> Option<Arc<dyn Compiler>>;

    /// Drops all programs and banks. Compiled kernels stay.
    fn reset(&mut self);

    /// Bytes that the program's tensors take, the banks not included.
    fn program_bytes(&self, program: Program) -> usize;

    /// Bytes of everything held: banks and programs.
    fn total_bytes(&self) -> usize;

    /// Launches of one run: kernels on a GPU, calls on the CPU.
    fn launches(&self, program: Program) -> usize;

    /// The variants in which the ops of a program run; none on the CPU, where an op has its twin alone.
    fn variants(&self, _program: Program) -> Variants {
        Variants::new()
    }

    /// Sets an input, a parameter or any other tensor of a program.
    fn write(&mut self, program: Program, tensor: TensorId, data: Data<'_>) -> Result<()>;

    /// Queues one run.
    fn run(&mut self, program: Program, step: &StepParams) -> Result<()>;

    /// Zeroes all states of a program: the next run sees the first token of new sequences.
    fn clear_states(&mut self, program: Program) -> Result<()>;

    /// Zeroes a bank.
    fn clear_bank(&mut self, bank: Bank) -> Result<()>;

    /// Sets a bank.
    fn write_bank(&mut self, bank: Bank, data: &[f32]) -> Result<()>;

    /// A bank's values.
    fn read_bank(&mut self, bank: Bank) -> Result<Vec<f32>>;

    /// A tensor's numbers, once all queued work is done.
    fn read(&mut self, program: Program, tensor: TensorId) -> Result<Vec<f64>>;

    /// A tensor's integers, once all queued work is done.
    fn read_u32(&mut self, program: Program, tensor: TensorId) -> Result<Vec<u32>>;

    /// Queues a copy of a result of at most 64 values to the host and submits what is queued.
    fn fetch(&mut self, program: Program, tensor: TensorId) -> Result<Ticket>;

    /// The fetched values, or `None` if they are not there yet and `wait` is false.
    fn take(&mut self, ticket: Ticket, wait: bool) -> Result<Option<Vec<f32>>>;

    /// Waits until all queued work is done.
    fn wait(&mut self) -> Result<()>;

    /// Runs once and returns the time of each call of the graph.
    fn profile(&mut self, program: Program, step: &StepParams) -> Result<Vec<Duration>>;

    /// Runs call by call and returns the first tensor (call, tensor, element) that is not finite.
    fn first_not_finite(
        &mut self,
        program: Program,
        step: &StepParams,
    ) -> Result<Option<(usize, TensorId, usize)>>;

    /// Fills every tensor of a program, its states too, with NaN bits: a test then sees what a call left unwritten.
    fn poison(&mut self, program: Program) -> Result<()>;
}

//! Times one bench on one executor.

use super::fill::{self, Values};
use crate::cases::bench::{Bench, Timed};
use crate::error::{DeviceError, Error, Result};
use crate::graph::{Graph, Output};
use crate::memory;
use crate::ops::Op;
use crate::port::{Cost, InputGrad, Pass};
use crate::runtime::{Data, Program, Runtime};
use crate::step::StepParams;
use crate::tensor::{Precision, TensorId};
use crate::train::{Executor, keep_to_cap};
use std::time::{Duration, Instant};

/// Timed runs of a bench.
const RUNS: usize = 15;
/// Runs at least, however long they take.
const LEAST_RUNS: usize = 3;
/// No further run is begun after this time.
const ENOUGH: Duration = Duration::from_millis(500);
/// Runs and time of a bench's own warm-up: clocks sink while the host makes data.
const WARM_UP: (usize, Duration) = (3, Duration::from_millis(100));
/// A run longer than this is warm-up enough.
const LONG_RUN: Duration = Duration::from_secs(1);
/// Runs between two looks at the host's clock, where the device has none.
const WALL_RUNS: u32 = 10;

/// Times of several runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timing {
    /// Of all runs, in the middle.
    pub median: Duration,
    /// The shortest.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
    /// How many.
    pub runs: usize,
}

impl Timing {
    /// Of at least one time.
    pub(super) fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        let last = times.len() - 1;
        Self {
            median: times[last / 2],
            min: times[0],
            max: times[last],
            runs: times.len(),
        }
    }
}

/// A bench whose program is loaded and whose inputs are written. It is gone after [`Runtime::reset`].
#[derive(Debug, Clone, Copy)]
pub struct Prepared {
    program: Program,
    step: StepParams,
    /// Work of one run.
    pub cost: Cost,
    on_device: bool,
}

impl Prepared {
    /// Loads a bench alone, in place of all that was loaded before; or says why it does not fit the device.
    ///
    /// # Errors
    /// The device's.
    pub fn new(
        bench: &Bench,
        timed: Timed,
        precision: Precision,
        executor: &mut Executor,
    ) -> Result<std::result::Result<Self, String>> {
        let ports = bench.op.inputs().into_iter().chain(bench.op.outputs());
        let values = ports.map(|port| port.numel()).fold(0, usize::saturating_add);
        if let Err(e) = memory::ask(
            "the values of a bench",
            memory::bytes_of::<f32>(values).saturating_mul(2),
        ) {
            return Ok(Err(e.to_string()));
        }
        let Built { graph, data } = Built::new(bench, timed, precision)?;
        let on_device = has_own_clock(executor);
        executor.runtime().reset();
        // What was dropped is only freed when the device next looks.
        executor.runtime().wait()?;
        let runtime = executor.runtime();
        let small = runtime.fits(&graph).and_then(|bytes| keep_to_cap(runtime, bytes));
        let loaded = small.map_err(Error::from).and_then(|()| runtime.load(&graph));
        let program = match loaded {
            Ok(program) => program,
            Err(Error::Device(DeviceError::OutOfMemory(e))) => return Ok(Err(e.to_string())),
            Err(e) => return Err(e),
        };
        for (tensor, values) in data {
            match values {
                Values::Real(x) => runtime.write(program, tensor, Data::F32(&x))?,
                Values::Int(x) => runtime.write(program, tensor, Data::U32(&x))?,
            }
        }
        runtime.wait()?;
        let step = StepParams {
            dropout_on: 1,
            clip: 1.0,
            step_size: 1e-3,
            inv_sqrt_bias2: 1.0,
            ..StepParams::eval(1)
        };
        Ok(Ok(Self {
            program,
            step,
            cost: bench.cost(timed, precision),
            on_device,
        }))
    }

    /// The program that it runs.
    pub fn program(&self) -> Program {
        self.program
    }

    /// What it runs with.
    pub fn step(&self) -> &StepParams {
        &self.step
    }

    /// Runs once and returns how long it took: by the device's own clock where it has one.
    ///
    /// # Errors
    /// The device's.
    pub fn time_once(&self, runtime: &mut dyn Runtime) -> Result<Duration> {
        if self.on_device {
            return Ok(runtime.profile(self.program, &self.step)?.into_iter().sum());
        }
        let start = Instant::now();
        for _ in 0..WALL_RUNS {
            runtime.run(self.program, &self.step)?;
        }
        runtime.wait()?;
        Ok(start.elapsed() / WALL_RUNS)
    }

    /// Keeps the device busy for a while, at least the bench's own warm-up.
    ///
    /// # Errors
    /// The device's.
    pub fn warm_up(&self, runtime: &mut dyn Runtime, least: Duration) -> Result<()> {
        let start = Instant::now();
        let mut runs = 0;
        while runs < WARM_UP.0 || start.elapsed() < WARM_UP.1.max(least) {
            runtime.run(self.program, &self.step)?;
            runtime.wait()?;
            runs += 1;
            if start.elapsed() > LONG_RUN.max(least) {
                break;
            }
        }
        Ok(())
    }

    /// Warms up, and times until there are 15 runs, or 3 and half a second.
    ///
    /// # Errors
    /// The device's.
    pub fn time(&self, runtime: &mut dyn Runtime) -> Result<Timing> {
        self.warm_up(runtime, Duration::ZERO)?;
        let start = Instant::now();
        let mut times = Vec::new();
        while times.len() < LEAST_RUNS || (times.len() < RUNS && start.elapsed() < ENOUGH) {
            times.push(self.time_once(runtime)?);
        }
        Ok(Timing::of(times))
    }
}

/// Whether [`Runtime::profile`] works: always on the CPU, with timestamps on a GPU.
pub(super) fn has_own_clock(executor: &Executor) -> bool {
    match executor {
        Executor::Cpu(_) => true,
        #[cfg(feature = "gpu")]
        Executor::Gpu(runtime) => runtime.gpu().has_timestamps(),
    }
}

/// A bench as a graph, with what the host writes.
pub(super) struct Built {
    pub(super) graph: Graph,
    data: Vec<(TensorId, Values)>,
}

impl Built {
    pub(super) fn new(bench: &Bench, timed: Timed, precision: Precision) -> Result<Self> {
        let mut graph = Graph::with_precision(precision);
        let mut data = Vec::new();
        let ports = bench.op.inputs();
        let mut ins = Vec::new();
        for (seed, port) in (1..).zip(&ports) {
            let id = graph.input(port.name, &port.shape, port.storage.dtype(precision));
            data.push((id, fill::input(bench, port, seed)));
            ins.push(id);
        }
        if updates(&bench.op) {
            let mut outs = Vec::new();
            for (seed, port) in (100..).zip(&bench.op.outputs()) {
                let tensor = graph.input(port.name, &port.shape, port.storage.dtype(precision));
                data.push((tensor, Values::Real(fill::updated(port, seed))));
                outs.push(Output {
                    tensor,
                    accumulate: true,
                });
            }
            graph.call_into(bench.op.clone(), &ins, &outs)?;
            return Ok(Self { graph, data });
        }
        let outs = graph.call(bench.op.clone(), &ins)?;
        outs.iter().for_each(|id| graph.keep(*id));
        if timed == Timed::Training {
            let mut seeds = Vec::new();
            let outputs = bench.op.outputs();
            for (seed, (port, out)) in (200..).zip(outputs.iter().zip(&outs)) {
                if port.grad != InputGrad::None {
                    let gradient = graph.input("seed", &port.shape, port.storage.dtype(precision));
                    data.push((gradient, Values::Real(fill::gradient(port.numel(), seed))));
                    seeds.push((*out, gradient));
                }
            }
            let wrt: Vec<TensorId> = ports
                .iter()
                .zip(&ins)
                .filter(|(p, _)| p.grad.has_kernel())
                .map(|(_, id)| *id)
                .collect();
            graph.backward(&seeds, &wrt)?;
            debug_assert!(graph.calls().iter().any(|call| call.pass == Pass::Backward));
        }
        Ok(Self { graph, data })
    }
}

/// Ops that change tensors in place.
fn updates(op: &Op) -> bool {
    matches!(op, Op::Add(_) | Op::Adam(_) | Op::GradNorm(_))
}

#[cfg(test)]
mod tests {
    use super::super::registry::registry;
    use super::*;
    use crate::cases::bench::Scale;

    #[test]
    fn without_a_clock_of_its_own_the_host_measures() {
        let mut executor = Executor::cpu();
        let bench = registry(Scale(4096))
            .into_iter()
            .find(|b| b.kind == "rope")
            .unwrap();
        let prepared = Prepared::new(&bench, Timed::Training, Precision::F32, &mut executor)
            .unwrap()
            .unwrap();
        assert!(prepared.on_device);
        let on_host = Prepared {
            on_device: false,
            ..prepared
        };
        let timing = on_host.time(executor.runtime()).unwrap();
        assert!(timing.runs >= LEAST_RUNS && timing.min > Duration::ZERO);
    }
}

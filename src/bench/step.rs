//! Times whole training steps: forward, backward, clip and Adam.

use super::report::{Entry, StepFacts};
use super::roof::{DeviceClass, Roof};
use super::runner::{Timing, has_own_clock};
use crate::cases::Fill;
use crate::error::{Error, Result};
use crate::graph::Call;
use crate::models::{BlockRef, ModelConfig, update_graph};
use crate::port::Cost;
use crate::tasks::{Batch, Split};
use crate::tensor::Precision;
use crate::train::{CallTime, Executor, Recipe, Schedule, Stepper};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Symbols and classes of the paper's first task.
const VOCAB: usize = 41;
const CLASSES: usize = 1601;
/// Timed blocks of steps. Within a block steps queue up as in training.
const BLOCKS: usize = 5;
/// Blocks at least, however long they take.
const LEAST_BLOCKS: usize = 3;
/// A block has as many steps as fit into this time, at least one.
const BLOCK: Duration = Duration::from_millis(500);
/// No further block is begun after this time.
const ENOUGH: Duration = Duration::from_secs(10);

/// Sizes of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepShape {
    /// Width.
    pub d_model: usize,
    /// Number of layers.
    pub layers: usize,
    /// Sequences.
    pub batch: usize,
    /// Time steps of each.
    pub length: usize,
    /// States, where they are not as published.
    pub d_state: Option<usize>,
    /// Steps that a chunkwise kernel takes at once, where they are not 64.
    pub chunk: Option<usize>,
}

impl StepShape {
    /// The paper's stack on a GPU, a small one elsewhere.
    pub fn default_for(class: DeviceClass) -> Self {
        let [d_model, layers, batch, length] = match class {
            DeviceClass::Gpu => [1024, 8, 64, 400],
            DeviceClass::SoftwareGpu | DeviceClass::Cpu => [128, 2, 8, 100],
        };
        Self {
            d_model,
            layers,
            batch,
            length,
            d_state: None,
            chunk: None,
        }
    }

    pub(super) fn model(self, block: BlockRef) -> ModelConfig {
        let mut model = ModelConfig::new(block, self.layers, self.d_model, VOCAB, CLASSES);
        model.d_state = self.d_state;
        model.chunk = self.chunk.unwrap_or(model.chunk);
        model
    }

    /// Elements of a sequence: each takes two time steps, as with the paper's gap of 0.1 s.
    fn elements(self) -> usize {
        (self.length / 2).max(1)
    }

    fn data(self) -> Batch {
        let (b, t, e) = (self.batch, self.length, self.elements());
        let mut fill = Fill::new(1);
        let width = t / e;
        let window = |i: usize| [((i % e) * width) as u32, width as u32];
        Batch {
            b,
            t,
            elements: e,
            split: Split::Train,
            seed: 1,
            indices: (0..b as u32).collect(),
            symbols: fill.below(b * e, VOCAB as u32),
            windows: (0..b * e).map(window).collect(),
            window_labels: fill.below(b * e, CLASSES as u32),
            step_symbols: Vec::new(),
            reference_noise: Vec::new(),
            tokens: b * e * width,
        }
    }
}

/// Times the training step of a model and gives the executor back, empty.
///
/// # Errors
/// [`crate::error::UserError`] for sizes that the model cannot have, [`Error::Stopped`] once `stop` is set, and the device's.
pub fn time_step(
    mut executor: Executor,
    block: BlockRef,
    shape: StepShape,
    precision: Precision,
    roof: &Roof,
    say: &mut dyn FnMut(&str),
    stop: &AtomicBool,
) -> Result<(Executor, Entry, Vec<CallTime>)> {
    executor.runtime().reset();
    let start = Instant::now();
    executor.check(precision)?;
    let mut model = shape.model(block);
    model.precision = precision;
    model.validate()?;
    let recipe = Recipe {
        schedule: Schedule {
            lr: 1e-3,
            warmup: 0.0,
            steps: 1 << 20,
            floor: 0.0,
        },
        clip: 1.0,
        dropout_until: u64::MAX,
        seed: 1,
        batch: shape.batch,
    };
    let extents = [shape.length, shape.elements()];
    let mut stepper = Stepper::new(executor, &model, recipe, extents, None, say)?;
    let data = shape.data();
    let mut steps = Steps {
        stepper: &mut stepper,
        data: &data,
        next: 0,
        stop,
    };
    steps.run(1)?;
    let first_step = start.elapsed();
    let once = steps.run(2)? / 2;
    let runs = (BLOCK.as_secs_f64() / once.as_secs_f64().max(1e-6)).clamp(1.0, 100.0) as usize;
    let began = Instant::now();
    let mut times = Vec::new();
    while times.len() < LEAST_BLOCKS || (times.len() < BLOCKS && began.elapsed() < ENOUGH) {
        times.push(steps.run(runs)? / runs as u32);
    }
    let mut timing = Timing::of(times);
    timing.runs *= runs;
    let calls = if has_own_clock(&stepper.executor) {
        stepper.profile(0, &data)?
    } else {
        Vec::new()
    };
    let mut entry = Entry::new(
        name(block, shape),
        "step",
        "step",
        "a whole training step",
        timing,
        sum(&costs(&stepper, shape.batch)?),
        roof,
    );
    let program = stepper.train_net().1;
    entry.variants = stepper.executor.runtime().variants(program);
    entry.step = Some(StepFacts {
        params: stepper.train_net().0.graph.param_count(),
        heads: model.heads,
        tokens_s: (shape.batch * shape.length) as f64 / timing.median.as_secs_f64().max(1e-9),
        peak_bytes: stepper.executor.runtime().total_bytes(),
        micro_batch: stepper.micro_batch(),
        launches: stepper.launches(),
        first_step_s: first_step.as_secs_f64(),
        ops: shares(&calls),
    });
    let mut executor = stepper.executor;
    executor.runtime().reset();
    Ok((executor, entry, calls))
}

fn name(block: BlockRef, shape: StepShape) -> String {
    let StepShape {
        d_model,
        layers,
        batch,
        length,
        d_state,
        chunk,
    } = shape;
    let more = [("N", d_state), ("C", chunk)];
    let more = more
        .iter()
        .filter_map(|(sign, n)| Some(format!(" {sign}{}", (*n)?)));
    let more: String = more.collect();
    format!("{} d{d_model} L{layers} B{batch} T{length}{more}", block.name())
}

struct Steps<'a> {
    stepper: &'a mut Stepper,
    data: &'a Batch,
    next: u64,
    stop: &'a AtomicBool,
}

impl Steps<'_> {
    /// Time of some steps, until the numbers of the last are back.
    fn run(&mut self, count: usize) -> Result<Duration> {
        let start = Instant::now();
        for _ in 0..count {
            let go_on = || !self.stop.load(Ordering::Relaxed);
            if !self.stepper.step_while(self.next, self.data, go_on)? {
                return Err(Error::Stopped("the bench"));
            }
            self.stepper.collect()?;
            self.next += 1;
        }
        self.stepper.drain()?;
        Ok(start.elapsed())
    }
}

/// Work of each call of a step of `batch` samples, in all micro-batches, and of the update.
fn costs(stepper: &Stepper, batch: usize) -> Result<Vec<Cost>> {
    let graph = &stepper.train_net().0.graph;
    let parts = (batch / stepper.micro_batch()) as f64;
    let update = update_graph(graph.bank_len(), graph.precision())?.graph;
    let calls = graph.calls().iter().map(|call| (parts, call));
    let calls = calls.chain(update.calls().iter().map(|call| (1.0, call)));
    let cost = |(times, call): (f64, &Call)| {
        let one = call.op.cost(call.pass, graph.precision());
        Cost {
            flops: times * one.flops,
            bytes: times * one.bytes,
        }
    };
    Ok(calls.map(cost).collect())
}

fn sum(costs: &[Cost]) -> Cost {
    let mut sum = Cost::default();
    for cost in costs {
        sum.flops += cost.flops;
        sum.bytes += cost.bytes;
    }
    sum
}

/// What a training step must do at least.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Floor {
    /// Work of all calls.
    pub cost: Cost,
    /// Time by the device's roof: of each call the longer of moving its bytes and of its FLOPs.
    pub time: Duration,
}

impl Floor {
    /// Of a step of `batch` samples on a device with this roof.
    ///
    /// # Errors
    /// None that a stepper has not had.
    pub fn of(stepper: &Stepper, batch: usize, roof: &Roof) -> Result<Self> {
        let costs = costs(stepper, batch)?;
        let least = |cost: &Cost| (cost.bytes / roof.copy).max(cost.flops / roof.product);
        Ok(Self {
            cost: sum(&costs),
            time: Duration::from_secs_f64(costs.iter().map(least).sum()),
        })
    }
}

fn shares(calls: &[CallTime]) -> BTreeMap<String, f64> {
    let all = calls.iter().map(|c| c.time.as_secs_f64()).sum::<f64>().max(1e-12);
    let mut shares = BTreeMap::new();
    for call in calls {
        let key = format!("{}_{}", call.op, call.pass.suffix());
        *shares.entry(key).or_default() += call.time.as_secs_f64() / all;
    }
    shares
}

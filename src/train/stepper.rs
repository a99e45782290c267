//! One update after the other: micro-batches, the optimiser, and the numbers that come back a few steps later.

use super::executor::Executor;
use super::feed::{LOOK_AGAIN, write_inputs, written_at};
use super::fit::{Fit, largest};
use super::lengths::Lengths;
use super::schedule::Schedule;
use crate::error::{Result, UserError};
use crate::graph::{Graph, Param};
use crate::memory;
use crate::models::{ModelConfig, Net, Update, initial_parameters, update_graph};
use crate::ops::grad_norm::{self, FIRST_SCALE};
use crate::ops::head_loss;
use crate::port::{Cost, Pass};
use crate::runtime::{Data, Program, Ticket, Variants};
use crate::step::StepParams;
use crate::tasks::Batch;
use crate::tensor::{Bank, Precision};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// Steps whose numbers may be on their way.
const IN_FLIGHT: usize = 4;
/// Batches that the host holds at least: the one in use and those that are made ahead.
const BATCHES: u64 = 3;
/// Copies of a bank while a checkpoint is made: parameters and moments, as they come and by name.
const HOST_COPIES: u64 = 6;
/// Runs before a profile.
const WARM_UP: usize = 2;

/// What the updates are made with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recipe {
    /// Learning rates.
    pub schedule: Schedule,
    /// Largest global gradient norm.
    pub clip: f32,
    /// Updates with dropout: all of them, or those before the first evaluation (the reference).
    pub dropout_until: u64,
    /// Seed of the initial parameters and the dropout masks.
    pub seed: u64,
    /// Samples of an update.
    pub batch: usize,
}

impl Recipe {
    fn params(&self, step: u64, tokens: usize) -> StepParams {
        let mut params = StepParams::eval(tokens);
        params.seed = self.seed as u32 ^ (self.seed >> 32) as u32;
        params.step = step as u32;
        params.dropout_on = u32::from(step < self.dropout_until);
        params.clip = self.clip;
        self.schedule.adam(step, &mut params);
        params
    }
}

/// What came back from an update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// The update, counted from 0.
    pub step: u64,
    /// Mean cross entropy per step with a target, in nats.
    pub loss: f64,
    /// Windows whose class was right.
    pub correct: f64,
    /// Windows.
    pub windows: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Steps with a target.
    pub tokens: usize,
    /// The norm or the loss was not finite; this and all later updates were left out.
    pub halted: bool,
    /// In mixed precision: the gradients times the loss scale were not finite. Only this update was left out.
    pub skipped: bool,
}

/// By what the loss is multiplied in mixed precision, so that small gradients do not vanish in f16.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    /// The factor, a power of two.
    pub factor: f32,
    /// Updates since it last changed.
    pub since: f32,
    /// Updates that were left out because it was too large.
    pub skipped: f32,
}

impl LossScale {
    const FIRST: Self = Self {
        factor: FIRST_SCALE,
        since: 0.0,
        skipped: 0.0,
    };
}

struct Flight {
    step: u64,
    tokens: usize,
    /// Statistics of each micro-batch, then those of the update.
    waiting: VecDeque<Ticket>,
    values: Vec<Vec<f32>>,
}

impl Flight {
    fn report(&self) -> StepReport {
        let (update, parts) = self.values.split_last().expect("an update has statistics");
        let sum = |i: usize| parts.iter().map(|p| f64::from(p[i])).sum::<f64>();
        let loss = sum(head_loss::LOSS);
        StepReport {
            step: self.step,
            loss,
            correct: sum(head_loss::RIGHT),
            windows: sum(head_loss::FILLED),
            grad_norm: f64::from(update[grad_norm::NORM]),
            tokens: self.tokens,
            halted: update[grad_norm::HALTED] != 0.0 || !loss.is_finite(),
            skipped: update[grad_norm::SKIPPED] != 0.0,
        }
    }
}

/// How long one call took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CallTime {
    /// The op's name.
    pub op: &'static str,
    /// Forward or backward.
    pub pass: Pass,
    /// On the device.
    pub time: Duration,
    /// What the op says it costs.
    pub cost: Cost,
}

/// Parameters with their optimiser state, by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    /// Name, shape and values.
    pub params: Vec<(String, Vec<usize>, Vec<f32>)>,
    /// Adam's first moments, in the same order.
    pub moment1: Vec<Vec<f32>>,
    /// Adam's second moments.
    pub moment2: Vec<Vec<f32>>,
}

/// See the module docs.
pub struct Stepper {
    /// The device.
    pub executor: Executor,
    nets: Lengths,
    optimiser: Update,
    update: Program,
    recipe: Recipe,
    precision: Precision,
    micro: usize,
    flights: VecDeque<Flight>,
}

impl Stepper {
    /// Plans the largest micro-batch that fits, or the given one, for samples of `t` steps and `e` elements, and sets
    /// the initial parameters. `say` hears why the next larger one does not fit.
    ///
    /// # Errors
    /// [`UserError::Value`] if `forced` does not divide the batch; [`OutOfMemory`](crate::error::OutOfMemory) if nothing
    /// fits; the device's.
    pub fn new(
        mut executor: Executor,
        model: &ModelConfig,
        recipe: Recipe,
        [t, e]: [usize; 2],
        forced: Option<usize>,
        say: &mut dyn FnMut(&str),
    ) -> Result<Self> {
        let sizes = micro_batches(recipe.batch, forced)?;
        let samples = Batch::bytes(recipe.batch, t, e).saturating_mul(BATCHES);
        memory::ask(&format!("the samples of a batch of {}", recipe.batch), samples)?;
        let build = |micro| model.train_net(micro, t, e);
        let smallest = build(1)?.graph;
        let host = memory::bytes_of::<f32>(smallest.bank_len()).saturating_mul(HOST_COPIES);
        let room = memory::ask("a checkpoint in the host's memory", host);
        let mut refused = None;
        let optimiser = update_graph(smallest.bank_len(), model.precision)?;
        let compiler = executor.runtime().compiler();
        let (fit, drawn) = std::thread::scope(|scope| {
            // They take as long as the driver does to compile. What fails to be compiled here is told once it is loaded.
            let draw = || {
                let _ = compiler.map(|compiler| compiler.compile(&optimiser.graph));
                initial_parameters(&smallest, recipe.seed)
            };
            let drawing = room.is_ok().then(|| scope.spawn(draw));
            let fit = largest(executor.runtime(), sizes, build, |micro, e| {
                refused = Some(format!("a micro-batch of {micro} does not fit: {e}"));
            });
            let drawn = drawing.map(|thread| thread.join().expect("drawing numbers does not panic"));
            (fit, drawn.unwrap_or_default())
        });
        let Fit {
            size: micro,
            net,
            programs,
        } = fit?;
        room?;
        if let Some(text) = refused {
            say(&text);
        }
        let precision = model.precision;
        let runtime = executor.runtime();
        let update = runtime.load(&optimiser.graph)?;
        runtime.write_bank(Bank::Param, &drawn)?;
        runtime.clear_bank(Bank::Grad)?;
        let model = model.clone();
        let nets = Lengths::new(net, programs[0], move |t| model.train_net(micro, t, e));
        let mut made = Self {
            executor,
            nets,
            optimiser,
            update,
            recipe,
            precision,
            micro,
            flights: VecDeque::new(),
        };
        made.set_loss_scale(LossScale::FIRST)?;
        Ok(made)
    }

    /// The loss scale once all queued work is done, in mixed precision.
    ///
    /// # Errors
    /// The device's.
    pub fn loss_scale(&mut self) -> Result<Option<LossScale>> {
        if self.precision == Precision::F32 {
            return Ok(None);
        }
        let values = self.executor.runtime().read_bank(Bank::Scale)?;
        Ok(Some(LossScale {
            factor: values[0],
            since: values[1],
            skipped: values[2],
        }))
    }

    /// Sets the loss scale; in f32 there is none to set.
    ///
    /// # Errors
    /// The device's.
    pub fn set_loss_scale(&mut self, scale: LossScale) -> Result<()> {
        if self.precision == Precision::F32 {
            return Ok(());
        }
        let values = [scale.factor, scale.since, scale.skipped, 0.0];
        self.executor.runtime().write_bank(Bank::Scale, &values)
    }

    /// Sets the initial parameters for another run of the same shapes: as if everything were planned anew.
    ///
    /// # Errors
    /// The device's.
    pub fn restart(&mut self, recipe: Recipe) -> Result<()> {
        let runtime = self.executor.runtime();
        runtime.write_bank(
            Bank::Param,
            &initial_parameters(&self.nets.longest().0.graph, recipe.seed),
        )?;
        for bank in [Bank::Grad, Bank::Moment1, Bank::Moment2] {
            runtime.clear_bank(bank)?;
        }
        // The flag of an earlier run that was halted.
        runtime.write(self.update, self.optimiser.stats, Data::F32(&[0.0; 4]))?;
        self.flights.clear();
        self.recipe = recipe;
        self.set_loss_scale(LossScale::FIRST)
    }

    /// Samples of a micro-batch.
    pub fn micro_batch(&self) -> usize {
        self.micro
    }

    /// The graph of one micro-batch of the longest samples, and its program.
    pub fn train_net(&self) -> (&Net, Program) {
        self.nets.longest()
    }

    /// Steps, those of padding included, that are computed for a batch.
    pub fn computed(&self, batch: &Batch) -> usize {
        batch.b * self.nets.computed(batch.t)
    }

    /// Kernels (on the CPU: calls) that one update launches.
    pub fn launches(&mut self) -> usize {
        let parts = self.recipe.batch / self.micro;
        let runtime = self.executor.runtime();
        parts * runtime.launches(self.nets.longest().1) + runtime.launches(self.update)
    }

    /// The variants that the ops of an update run in, of those that have several; none on the CPU.
    pub fn variants(&mut self) -> Variants {
        let program = self.nets.longest().1;
        self.executor.runtime().variants(program)
    }

    /// The device in words, and what its kernels are, for the head of a configuration.
    pub fn runs_on(&mut self) -> String {
        let variants = self.variants().into_iter().map(|(op, variants)| {
            let names: Vec<String> = variants.into_iter().collect();
            format!("{op} {}", names.join(" and "))
        });
        let variants: Vec<String> = variants.collect();
        match variants.is_empty() {
            true => self.executor.name(),
            false => format!("{}\nKernels: {}", self.executor.name(), variants.join(", ")),
        }
    }

    /// Learning rate of an update.
    pub fn lr(&self, step: u64) -> f64 {
        self.recipe.schedule.lr(step)
    }

    /// Queues update `step` on a batch.
    ///
    /// # Errors
    /// The device's.
    pub fn step(&mut self, step: u64, batch: &Batch) -> Result<()> {
        self.step_while(step, batch, || true).map(drop)
    }

    /// [`Stepper::step`], unless `go_on` says no before one of its micro-batches: the answer is `false` then, and the
    /// gradients are no longer those of any batch.
    ///
    /// # Errors
    /// The device's.
    pub fn step_while(&mut self, step: u64, batch: &Batch, go_on: impl Fn() -> bool) -> Result<bool> {
        let mut params = self.recipe.params(step, batch.tokens);
        let parts = batch.b / self.micro;
        let runtime = self.executor.runtime();
        let (net, train) = self.nets.of(runtime, batch.t)?;
        let mut waiting = VecDeque::with_capacity(parts + 1);
        for part in 0..parts {
            if !go_on() {
                return Ok(false);
            }
            let first = part * self.micro;
            write_inputs(runtime, train, net, batch, first..first + self.micro)?;
            params.first_row = (first * net.t) as u32;
            runtime.run(train, &params)?;
            if part + 1 < parts {
                waiting.push_back(runtime.fetch(train, net.stats)?);
            }
        }
        // The update reads the same parameters as the last micro-batch and the bank is cleared for the next step, so
        // all of it goes to the device as one piece with the first fetch.
        runtime.run(self.update, &params)?;
        runtime.clear_bank(Bank::Grad)?;
        waiting.push_back(runtime.fetch(train, net.stats)?);
        waiting.push_back(runtime.fetch(self.update, self.optimiser.stats)?);
        self.flights.push_back(Flight {
            step,
            tokens: batch.tokens,
            waiting,
            values: Vec::new(),
        });
        Ok(true)
    }

    /// Reports that have arrived, oldest first. Waits only while more than four steps are on their way.
    ///
    /// # Errors
    /// The device's.
    pub fn collect(&mut self) -> Result<Vec<StepReport>> {
        self.take(IN_FLIGHT)
    }

    /// All reports that are still out.
    ///
    /// # Errors
    /// The device's.
    pub fn drain(&mut self) -> Result<Vec<StepReport>> {
        self.take(0)
    }

    fn take(&mut self, leave: usize) -> Result<Vec<StepReport>> {
        let mut reports = Vec::new();
        while let Some(flight) = self.flights.front_mut() {
            let runtime = self.executor.runtime();
            while let Some(&ticket) = flight.waiting.front() {
                let Some(values) = runtime.take(ticket, false)? else {
                    break;
                };
                flight.waiting.pop_front();
                flight.values.push(values);
            }
            if flight.waiting.is_empty() {
                reports.push(flight.report());
                self.flights.pop_front();
            } else if self.flights.len() > leave {
                // Waiting through the runtime would wait for the newest step too.
                std::thread::sleep(LOOK_AGAIN);
            } else {
                break;
            }
        }
        Ok(reports)
    }

    /// Repeats an update call by call and names the first tensor that is not finite: (op and tensor, element).
    ///
    /// # Errors
    /// The device's.
    pub fn find_not_finite(&mut self, step: u64, batch: &Batch) -> Result<(String, usize)> {
        let mut params = self.recipe.params(step, batch.tokens);
        let runtime = self.executor.runtime();
        runtime.clear_bank(Bank::Grad)?;
        let (net, train) = self.nets.of(runtime, batch.t)?;
        for part in 0..batch.b / self.micro {
            let first = part * self.micro;
            write_inputs(runtime, train, net, batch, first..first + self.micro)?;
            params.first_row = (first * net.t) as u32;
            if let Some((call, tensor, at)) = runtime.first_not_finite(train, &params)? {
                return Ok((written_at(&net.graph, call, tensor), at));
            }
        }
        Ok(("the norm of the gradient".to_owned(), 0))
    }

    /// Time of every call of one micro-batch and of the update, after a warm-up. Leaves the weights as they are.
    ///
    /// # Errors
    /// [`crate::error::DeviceError::Driver`] on adapters without timestamps.
    pub fn profile(&mut self, step: u64, batch: &Batch) -> Result<Vec<CallTime>> {
        let params = self.recipe.params(step, batch.tokens);
        let scale = self.loss_scale()?;
        let runtime = self.executor.runtime();
        let (net, train) = self.nets.of(runtime, batch.t)?;
        write_inputs(runtime, train, net, batch, 0..self.micro)?;
        for _ in 0..WARM_UP {
            runtime.run(train, &params)?;
        }
        runtime.wait()?;
        let mut times = timed(&net.graph, runtime.profile(train, &params)?);
        let banks = [Bank::Param, Bank::Moment1, Bank::Moment2];
        let kept = banks.map(|bank| runtime.read_bank(bank));
        runtime.clear_bank(Bank::Grad)?;
        times.extend(timed(
            &self.optimiser.graph,
            runtime.profile(self.update, &params)?,
        ));
        for (bank, data) in banks.into_iter().zip(kept) {
            runtime.write_bank(bank, &data?)?;
        }
        scale.map_or(Ok(()), |scale| self.set_loss_scale(scale))?;
        Ok(times)
    }

    /// Sets everything that updates change.
    ///
    /// # Errors
    /// [`UserError::Malformed`] (with `place`) if names or shapes are not this model's.
    pub fn set_weights(&mut self, weights: &Weights, place: &str) -> Result<()> {
        for bank in [Bank::Param, Bank::Moment1, Bank::Moment2] {
            let data = weights.bank(&self.nets.longest().0.graph, bank, place)?;
            self.executor.runtime().write_bank(bank, &data)?;
        }
        Ok(())
    }

    /// Everything that updates change, once all queued work is done.
    ///
    /// # Errors
    /// The device's.
    pub fn weights(&mut self) -> Result<Weights> {
        let runtime = self.executor.runtime();
        let banks = [Bank::Param, Bank::Moment1, Bank::Moment2].map(|bank| runtime.read_bank(bank));
        let [values, first, second] = banks;
        let (values, first, second) = (values?, first?, second?);
        let graph = &self.nets.longest().0.graph;
        let parts = |bank: &[f32]| -> Vec<Vec<f32>> {
            let range = |p: &Param| p.offset..p.offset + graph.tensor(p.tensor).numel();
            graph.params().iter().map(|p| bank[range(p)].to_vec()).collect()
        };
        let named = graph.params().iter().zip(parts(&values)).map(|(p, values)| {
            let info = graph.tensor(p.tensor);
            (info.name.clone(), info.shape.clone(), values)
        });
        Ok(Weights {
            params: named.collect(),
            moment1: parts(&first),
            moment2: parts(&second),
        })
    }
}

fn timed(graph: &Graph, times: Vec<Duration>) -> Vec<CallTime> {
    let calls = graph.calls().iter().zip(times);
    calls
        .map(|(call, time)| CallTime {
            op: call.op.name(),
            pass: call.pass,
            time,
            cost: call.op.cost(call.pass, graph.precision()),
        })
        .collect()
}

impl Weights {
    /// One bank, laid out as a graph has it.
    ///
    /// # Errors
    /// [`UserError::Malformed`] (with `place`) if names or shapes are not the graph's.
    pub fn bank(&self, graph: &Graph, bank: Bank, place: &str) -> Result<Vec<f32>> {
        let refuse = |message: String| UserError::Malformed {
            place: place.to_owned(),
            message,
        };
        let (ours, theirs) = (graph.params().len(), self.params.len());
        if ours != theirs {
            return Err(refuse(format!("{theirs} parameters, the model has {ours}")).into());
        }
        let mut data = vec![0.0; graph.bank_len()];
        for param in graph.params() {
            let info = graph.tensor(param.tensor);
            let at = self.params.iter().position(|(name, ..)| *name == info.name);
            let at = at.ok_or_else(|| refuse(format!("there is no parameter {}", info.name)))?;
            let (_, shape, values) = &self.params[at];
            let values = match bank {
                Bank::Moment1 => &self.moment1[at],
                Bank::Moment2 => &self.moment2[at],
                _ => values,
            };
            if *shape != info.shape || values.len() != info.numel() {
                let message = format!("{} has shape {shape:?}, the model's {:?}", info.name, info.shape);
                return Err(refuse(message).into());
            }
            data[param.offset..param.offset + values.len()].copy_from_slice(values);
        }
        Ok(data)
    }
}

/// Sizes of micro-batches to try, largest first: the divisors of the batch, or only the given one.
fn micro_batches(batch: usize, forced: Option<usize>) -> Result<Vec<usize>> {
    match forced {
        None => {
            let small: Vec<usize> = (1..=batch.isqrt()).filter(|m| batch.is_multiple_of(*m)).collect();
            let mut all: Vec<usize> = small
                .iter()
                .map(|m| batch / m)
                .chain(small.iter().rev().copied())
                .collect();
            all.dedup();
            Ok(all)
        }
        Some(micro) if micro > 0 && batch.is_multiple_of(micro) => Ok(vec![micro]),
        Some(micro) => Err(UserError::Value {
            place: "command line".to_owned(),
            field: "--micro-batch".to_owned(),
            found: micro.to_string(),
            allowed: format!("divisors of the batch of {batch}"),
        }
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn micro_batches_are_the_divisors() {
        assert_eq!(micro_batches(12, None).unwrap(), [12, 6, 4, 3, 2, 1]);
        assert_eq!(micro_batches(16, None).unwrap(), [16, 8, 4, 2, 1]);
        assert_eq!(micro_batches(1, None).unwrap(), [1]);
        assert_eq!(micro_batches(u32::MAX as usize, None).unwrap().len(), 32);
        assert_eq!(micro_batches(12, Some(4)).unwrap(), [4]);
        for bad in [0, 5, 24] {
            let error = micro_batches(12, Some(bad)).unwrap_err();
            assert!(
                error.to_string().contains("divisors of the batch of 12"),
                "{error}"
            );
        }
    }

    #[test]
    fn reports_add_up_micro_batches() {
        let flight = Flight {
            step: 3,
            tokens: 40,
            waiting: VecDeque::new(),
            values: vec![
                vec![0.5, 3.0, 10.0, 3.0],
                vec![0.25, 4.0, 10.0, 4.0],
                vec![7.0, 0.1, 0.0, 1.0],
            ],
        };
        let report = flight.report();
        assert_eq!((report.loss, report.correct, report.windows), (0.75, 7.0, 20.0));
        assert_eq!(
            (report.grad_norm, report.halted, report.skipped),
            (7.0, false, true)
        );
        let mut bad = flight;
        bad.values[2][grad_norm::HALTED] = 1.0;
        assert!(bad.report().halted);
    }
}

//! Loss and accuracy of a model on samples it does not learn from.

use super::divergence::Truth;
use super::executor::Executor;
use super::feed::{take_when_ready, write_inputs, written_at};
use super::fit::{halved, largest};
use super::lengths::Lengths;
use super::stepper::Weights;
use crate::error::{Error, NumericError, Result};
use crate::models::ModelConfig;
use crate::ops::head_loss;
use crate::runtime::{Runtime, Ticket};
use crate::step::StepParams;
use crate::tasks::{Batch, DataSet, Loader, Split, Targets};
use crate::tensor::Bank;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Samples of a batch, as the reference has it. Results depend on it only by rounding.
const BATCH: usize = 50;
/// Batches whose numbers may be on their way.
const IN_FLIGHT: usize = 4;

/// Hears how much of long work is done, of all; false ends it.
pub type GoOn<'a> = dyn FnMut(u64, u64) -> bool + 'a;

/// Goes on until a flag is set, and tells nobody how far it is.
pub fn until(stop: &AtomicBool) -> impl FnMut(u64, u64) -> bool {
    |_, _| !stop.load(Ordering::Relaxed)
}

/// What an evaluation found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Mean cross entropy per step with a target, in nats.
    pub loss: f64,
    /// Share of the windows whose class was right (`acc_valid` of models.md 4.12).
    pub accuracy: f64,
    /// Number of windows.
    pub windows: u64,
    /// Mean over the steps of KL(p || q), in nats, p being the true probabilities of the next symbol: of test samples where it
    /// is the next symbol that is asked for.
    pub kl: Option<f64>,
}

#[derive(Default)]
struct Sums {
    nll: f64,
    tokens: f64,
    correct: f64,
    windows: f64,
    kl: f64,
}

/// What an evaluator is planned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Planned {
    count: u64,
    /// Steps and elements of a sample.
    extents: [usize; 2],
    /// Whether the logits are compared with the true probabilities.
    logits: bool,
}

impl Planned {
    fn new(data: &DataSet, split: Split) -> Self {
        Self {
            count: data.count(split),
            extents: [data.max_steps(split), data.spec().length],
            logits: split == Split::Test && data.spec().targets == Targets::Next,
        }
    }
}

/// The error of a tensor that is not finite at an element on samples of a split.
pub(super) fn not_finite(split: Split, (tensor, index): (String, usize)) -> Error {
    let split = match split {
        Split::Train => "training",
        Split::Validation => "validation",
        Split::Test => "test",
    };
    let split = split.to_owned();
    NumericError::NotFiniteInTest { split, tensor, index }.into()
}

/// A net without backward pass and dropout, over the same parameter bank as everything else on its device.
pub struct Evaluator {
    nets: Lengths,
    batch: usize,
    planned: Planned,
}

impl Evaluator {
    /// Plans batches of at most 50 samples of a split: as many as fit.
    ///
    /// # Errors
    /// The model's, if it cannot have this shape; [`OutOfMemory`](crate::error::OutOfMemory) if one sample does not fit.
    pub fn new(executor: &mut Executor, model: &ModelConfig, data: &DataSet, split: Split) -> Result<Self> {
        let planned = Planned::new(data, split);
        let [t, e] = planned.extents;
        let most = BATCH.min(usize::try_from(planned.count).unwrap_or(BATCH)).max(1);
        let model = model.clone();
        let build = move |batch, t| match planned.logits {
            true => model.eval_net_with_logits(batch, t, e),
            false => model.eval_net(batch, t, e),
        };
        let fit = largest(
            executor.runtime(),
            halved(most),
            |batch| build(batch, t),
            |_, _| {},
        )?;
        let batch = fit.size;
        let nets = Lengths::new(fit.net, fit.programs[0], move |t| build(batch, t));
        Ok(Self { nets, batch, planned })
    }

    /// Samples that are tested at a time.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Sets the parameters of the device.
    ///
    /// # Errors
    /// [`UserError::Malformed`](crate::error::UserError) (with `place`) if names or shapes are not this model's.
    pub fn set_weights(&self, executor: &mut Executor, weights: &Weights, place: &str) -> Result<()> {
        let data = weights.bank(&self.nets.longest().0.graph, Bank::Param, place)?;
        executor.runtime().write_bank(Bank::Param, &data)
    }

    /// Bytes that it takes besides the parameters.
    pub fn bytes(&self, runtime: &dyn Runtime) -> usize {
        self.nets.bytes(runtime)
    }

    /// Whether it is planned for what a split has.
    pub(super) fn fits(&self, data: &DataSet, split: Split) -> bool {
        self.planned == Planned::new(data, split)
    }

    /// Tests on all samples of a split, and says how many are done. `None` if it was not to go on.
    ///
    /// # Errors
    /// [`NumericError::NotFiniteInTest`] if the loss is not finite; the device's.
    pub fn run(
        &mut self,
        executor: &mut Executor,
        data: &Arc<DataSet>,
        split: Split,
        go_on: &mut GoOn<'_>,
    ) -> Result<Option<Score>> {
        let batches = data.count(split).div_ceil(self.batch as u64);
        let loader = Loader::new(Arc::clone(data), split, self.batch, 0..batches, 2);
        let mut sums = Sums::default();
        let truth = self.planned.logits.then(|| Truth::new(data));
        let mut flights: VecDeque<(Ticket, usize)> = VecDeque::new();
        let (mut done, all) = (0, data.count(split));
        for batch in loader {
            if !go_on(done, all) {
                return Ok(None);
            }
            done += batch.b as u64;
            flights.push_back((self.queue(executor, &batch)?, batch.tokens));
            if let Some(truth) = &truth {
                sums.kl += self.divergence(executor, truth, &batch)?;
            }
            if flights.len() > IN_FLIGHT {
                self.take(executor, &mut flights, &mut sums)?;
            }
        }
        while !flights.is_empty() {
            self.take(executor, &mut flights, &mut sums)?;
        }
        if !sums.nll.is_finite() {
            return Err(self.not_finite(executor, data, split));
        }
        Ok(Some(Score {
            loss: sums.nll / sums.tokens.max(1.0),
            accuracy: sums.correct / sums.windows.max(1.0),
            windows: sums.windows as u64,
            kl: truth.map(|_| sums.kl / sums.tokens.max(1.0)),
        }))
    }

    /// Hands over each batch of a split with the classes that the model names, \[B, E\]. False if it was not to go on.
    ///
    /// # Errors
    /// [`NumericError::NotFiniteInTest`] if a batch's loss is not finite; the device's.
    pub fn predictions(
        &mut self,
        executor: &mut Executor,
        data: &Arc<DataSet>,
        split: Split,
        go_on: &mut GoOn<'_>,
        mut hear: impl FnMut(&Batch, &[u32]),
    ) -> Result<bool> {
        let batches = data.count(split).div_ceil(self.batch as u64);
        let (mut done, all) = (0, data.count(split));
        for batch in Loader::new(Arc::clone(data), split, self.batch, 0..batches, 2) {
            if !go_on(done, all) {
                return Ok(false);
            }
            done += batch.b as u64;
            let runtime = executor.runtime();
            let (net, program) = self.nets.of(runtime, batch.t)?;
            write_inputs(runtime, program, net, &batch, 0..batch.b)?;
            runtime.run(program, &StepParams::eval(batch.tokens))?;
            if !runtime.read(program, net.stats)?[head_loss::LOSS].is_finite() {
                return Err(self.not_finite(executor, data, split));
            }
            let answers = runtime.read_u32(program, net.predictions)?;
            hear(&batch, &answers[..batch.b * batch.elements]);
        }
        Ok(true)
    }

    /// Says which tensor is the first that is not finite, on the first samples that have one.
    fn not_finite(&mut self, executor: &mut Executor, data: &DataSet, split: Split) -> Error {
        let runtime = executor.runtime();
        let count = data.count(split);
        let mut found = ("the loss".to_owned(), 0);
        let mut first = 0;
        while first < count {
            let batch = data.batch(split, first, self.batch.min((count - first) as usize));
            let (net, program) = match self.nets.of(runtime, batch.t) {
                Ok(found) => found,
                Err(e) => return e,
            };
            let seen = write_inputs(runtime, program, net, &batch, 0..batch.b)
                .and_then(|()| runtime.first_not_finite(program, &StepParams::eval(batch.tokens)));
            match seen {
                Err(e) => return e,
                Ok(Some((call, tensor, at))) => {
                    found = (written_at(&net.graph, call, tensor), at);
                    break;
                }
                Ok(None) => first += batch.b as u64,
            }
        }
        not_finite(split, found)
    }

    fn queue(&mut self, executor: &mut Executor, batch: &Batch) -> Result<Ticket> {
        let runtime = executor.runtime();
        let (net, program) = self.nets.of(runtime, batch.t)?;
        write_inputs(runtime, program, net, batch, 0..batch.b)?;
        runtime.run(program, &StepParams::eval(batch.tokens))?;
        runtime.fetch(program, net.stats)
    }

    /// The sum over the steps of the batch that was queued last.
    fn divergence(&mut self, executor: &mut Executor, truth: &Truth<'_>, batch: &Batch) -> Result<f64> {
        let runtime = executor.runtime();
        let (net, program) = self.nets.of(runtime, batch.t)?;
        let logits = net.logits.expect("what is planned with logits keeps them");
        let values = runtime.read(program, logits)?;
        let classes = values.len() / (net.b * net.t);
        Ok(truth.divergence(batch, &values, [net.t, classes]))
    }

    fn take(
        &self,
        executor: &mut Executor,
        flights: &mut VecDeque<(Ticket, usize)>,
        sums: &mut Sums,
    ) -> Result<()> {
        let Some((ticket, tokens)) = flights.pop_front() else {
            return Ok(());
        };
        let values = take_when_ready(executor.runtime(), ticket)?;
        sums.nll += f64::from(values[head_loss::LOSS]) * tokens as f64;
        sums.tokens += tokens as f64;
        sums.correct += f64::from(values[head_loss::RIGHT]);
        sums.windows += f64::from(values[head_loss::FILLED]);
        Ok(())
    }
}

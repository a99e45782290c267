//! A run from its first update (or its last checkpoint) to the test: evaluations, checkpoints, signals, trouble.

use super::checkpoint::{self, Checkpoint};
use super::evaluate::{Evaluator, Score, until};
use super::executor::Executor;
use super::gates::{GateMean, GateReader};
use super::stepper::{LossScale, Recipe, StepReport, Stepper, Weights};
use crate::config::fingerprint;
use crate::error::{Error, NumericError, Result, UserError};
use crate::models::ModelConfig;
use crate::runtime::{Compiler, Variants};
use crate::tasks::{DataSet, Loader, Split, Splits};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Rows that a run writes to its metrics, about.
const ROWS: u64 = 500;

/// Everything that decides a run's numbers, and where it is kept.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The model.
    pub model: ModelConfig,
    /// The samples.
    pub data: Arc<DataSet>,
    /// How updates are made.
    pub recipe: Recipe,
    /// Updates between evaluations.
    pub eval_every: u64,
    /// Updates between checkpoints.
    pub checkpoint_every: u64,
    /// The configuration as the folder keeps it, without comments at its top: checkpoints hold it.
    pub config: String,
    /// The task's name.
    pub task: String,
    /// The model's name.
    pub model_name: String,
    /// The run's folder.
    pub folder: PathBuf,
}

impl Setup {
    /// Steps and elements of the training samples.
    pub fn train_extents(&self) -> [usize; 2] {
        [self.data.max_steps(Split::Train), self.data.spec().length]
    }

    /// The split that is evaluated between updates: the reference has no validation samples and uses its test samples.
    pub fn eval_split(&self) -> Split {
        match self.data.spec().splits {
            Splits::Disjoint => Split::Validation,
            Splits::Reference => Split::Test,
        }
    }

    fn steps(&self) -> u64 {
        self.recipe.schedule.steps
    }

    fn evaluates_after(&self, step: u64) -> bool {
        let due = step == self.steps() || (step > 0 && step.is_multiple_of(self.eval_every));
        due && self.data.count(self.eval_split()) > 0
    }

    fn checkpoints_after(&self, step: u64) -> bool {
        step == self.steps() || (step > 0 && step.is_multiple_of(self.checkpoint_every))
    }
}

/// A line of the metrics.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// Updates done.
    pub step: u64,
    /// Time steps with a target of all these updates.
    pub tokens: u64,
    /// Mean training loss since the last row, in nats.
    pub loss: f64,
    /// Training accuracy since the last row.
    pub train_accuracy: f64,
    /// Learning rate of the last update.
    pub lr: f64,
    /// Gradient norm of the last update, before clipping.
    pub grad_norm: f64,
    /// Time steps with a target, per second since the last row.
    pub tokens_per_s: f64,
    /// The evaluation after this update.
    pub evaluation: Option<Score>,
}

/// Hears what happens in a run.
pub trait Watch {
    /// An update's numbers have arrived. Called for each update, in order.
    fn updated(&mut self, report: &StepReport, tokens_per_s: f64);
    /// A line for the metrics.
    ///
    /// # Errors
    /// Whatever went wrong in writing it: the run ends with this error.
    fn logged(&mut self, row: &Row) -> Result<()>;
    /// A checkpoint is about to be written: what was logged so far must be on the disk.
    ///
    /// # Errors
    /// As [`Watch::logged`]; no checkpoint is written then.
    fn saving(&mut self) -> Result<()>;
}

/// What a run knows besides its weights. Goes into checkpoints, so that a resumed run continues as if never stopped.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Samples of a micro-batch: another size would round differently.
    pub micro_batch: usize,
    /// Updates before the last evaluation.
    pub evaluated: Option<u64>,
    /// Accuracy of the last evaluation.
    pub accuracy: Option<f64>,
    /// Its loss; where it was kept.
    #[serde(default)]
    pub evaluated_loss: Option<f64>,
    /// Best accuracy of all evaluations, and the updates before it.
    pub best: Option<(u64, f64)>,
    /// Seconds of training, evaluations included.
    pub wall_s: f64,
    /// Seconds of updates.
    pub update_s: f64,
    /// Steps with a target, of all updates.
    pub tokens: u64,
    /// Updates before the last row of the metrics; earlier versions did not say.
    #[serde(default)]
    logged: Option<u64>,
    /// Steps that were computed, those of padding included; 0 where an earlier version has not counted them.
    #[serde(default)]
    pub computed: u64,
    /// In mixed precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<LossScale>,
    row: RowSums,
}

impl Counters {
    /// Share of the computed steps that was padding, if all were counted.
    pub fn padded(&self) -> Option<f64> {
        (self.computed >= self.tokens && self.tokens > 0)
            .then(|| 1.0 - self.tokens as f64 / self.computed as f64)
    }
}

/// Sums since the last row.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct RowSums {
    updates: u64,
    loss: f64,
    correct: f64,
    windows: f64,
    grad_norm: f64,
}

/// A finished run.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The test, read once.
    pub test: Score,
    /// Counters at the end.
    pub counters: Counters,
    /// Bytes held on the device.
    pub peak_bytes: usize,
    /// The variants of their kernels that ops with several ran in.
    pub variants: Variants,
}

/// See the module docs.
pub struct Session<'a> {
    setup: &'a Setup,
    machine: Machine,
    counters: Counters,
    /// Updates queued so far.
    step: u64,
    /// Updates before the last checkpoint, and the file if this process wrote it.
    saved: Option<u64>,
    file: Option<PathBuf>,
    stop: &'a AtomicBool,
    clock: Clock,
}

/// A device with what is planned on it for a run: the next run of the same shapes has nothing left to plan.
pub struct Machine {
    stepper: Stepper,
    shape: Shape,
    evaluators: Vec<Evaluator>,
    gates: Option<GateReader>,
}

/// What programs depend on.
#[derive(PartialEq)]
struct Shape {
    model: ModelConfig,
    batch: usize,
    extents: [usize; 2],
    micro: Option<usize>,
}

/// What a session computes on.
pub enum Device {
    /// A device on which nothing is planned.
    New(Executor),
    /// A device that an earlier session has left.
    Used(Box<Machine>),
}

impl Device {
    /// What compiles for the device while it works.
    pub fn compiler(&mut self) -> Option<Arc<dyn Compiler>> {
        match self {
            Self::New(executor) => executor.runtime().compiler(),
            Self::Used(machine) => machine.stepper.executor.runtime().compiler(),
        }
    }
}

impl Machine {
    /// Plans a run, or takes what was planned for an earlier one of the same shapes.
    fn new(device: Device, setup: &Setup, micro: Option<usize>, say: &mut dyn FnMut(&str)) -> Result<Self> {
        let shape = Shape {
            model: setup.model.clone(),
            batch: setup.recipe.batch,
            extents: setup.train_extents(),
            micro,
        };
        let executor = match device {
            Device::Used(mut machine) if machine.shape == shape => {
                machine.stepper.restart(setup.recipe)?;
                return Ok(*machine);
            }
            Device::Used(machine) => machine.into_executor(),
            Device::New(executor) => executor,
        };
        let stepper = Stepper::new(executor, &shape.model, setup.recipe, shape.extents, micro, say)?;
        Ok(Self {
            stepper,
            shape,
            evaluators: Vec::new(),
            gates: None,
        })
    }

    /// The device, with nothing planned on it.
    pub fn into_executor(mut self) -> Executor {
        self.stepper.executor.runtime().reset();
        self.stepper.executor
    }

    /// What makes the updates.
    pub fn stepper(&mut self) -> &mut Stepper {
        &mut self.stepper
    }

    /// What tests samples of a split with the parameters that are on the device, and the device.
    ///
    /// # Errors
    /// Those of [`Evaluator::new`].
    pub fn evaluator(&mut self, data: &DataSet, split: Split) -> Result<(&mut Evaluator, &mut Executor)> {
        let executor = &mut self.stepper.executor;
        let fits = |evaluator: &Evaluator| evaluator.fits(data, split);
        let at = match self.evaluators.iter().position(fits) {
            Some(at) => at,
            None => {
                let made = Evaluator::new(executor, &self.shape.model, data, split)?;
                self.evaluators.push(made);
                self.evaluators.len() - 1
            }
        };
        Ok((&mut self.evaluators[at], executor))
    }

    /// Refuses a data set that has a test gap at which not one sample has room.
    fn check_test_gaps(&mut self, data: &DataSet) -> Result<()> {
        for gap in data.spec().test_gap.all().iter().skip(1) {
            let steps = data.with_test_gap(*gap).max_steps(Split::Test);
            let net = self.shape.model.eval_net(1, steps, data.spec().length)?;
            self.stepper.executor.runtime().fits(&net.graph)?;
        }
        Ok(())
    }

    /// Bytes of all that a run holds: parameters, updates, and what tests samples of these splits. What is left of earlier runs
    /// on this device, or was planned to look at gates, is not the run's.
    pub fn bytes_for(&mut self, data: &DataSet, splits: &[Split]) -> usize {
        let runtime = self.stepper.executor.runtime();
        let mut others = self.gates.as_ref().map_or(0, |reader| reader.bytes(runtime));
        for evaluator in &self.evaluators {
            if !splits.iter().any(|split| evaluator.fits(data, *split)) {
                others += evaluator.bytes(runtime);
            }
        }
        runtime.total_bytes() - others
    }

    /// What the gates do on the first test samples, with the parameters that are on the device.
    ///
    /// # Errors
    /// Those of [`GateReader`].
    pub fn gate_means(&mut self, data: &DataSet) -> Result<Vec<GateMean>> {
        let executor = &mut self.stepper.executor;
        let reader = match self.gates.take_if(|reader| reader.fits(data)) {
            Some(reader) => reader,
            None => GateReader::new(executor, &self.shape.model, data)?,
        };
        let means = reader.means(executor, data);
        self.gates = Some(reader);
        means
    }
}

/// Time and tokens since the last row.
struct Clock {
    start: Instant,
    tokens: usize,
}

impl Clock {
    fn restart() -> Self {
        Self {
            start: Instant::now(),
            tokens: 0,
        }
    }

    fn tokens_per_s(&self) -> f64 {
        self.tokens as f64 / self.start.elapsed().as_secs_f64().max(1e-9)
    }
}

impl<'a> Session<'a> {
    /// Plans everything that updates, evaluations and the test need on the device, and continues after a checkpoint, if
    /// there is one. Writes nothing.
    ///
    /// # Errors
    /// The model's or the device's; [`UserError::Malformed`] for a checkpoint of another model.
    pub fn new(
        setup: &'a Setup,
        device: Device,
        forced_micro: Option<usize>,
        saved: Option<Saved>,
        say: &mut dyn FnMut(&str),
        stop: &'a AtomicBool,
    ) -> Result<Self> {
        let began_on = saved
            .as_ref()
            .map_or(String::new(), |saved| saved.state.device.clone());
        let (mut counters, weights, step) = match saved {
            None => {
                let logged = Some(0);
                let counters = Counters {
                    logged,
                    ..Counters::default()
                };
                (counters, None, 0)
            }
            Some(saved) => (saved.state.counters, Some(saved.weights), saved.step),
        };
        let kept = (counters.micro_batch > 0).then_some(counters.micro_batch);
        let wanted = forced_micro.or(kept);
        let mut machine = Machine::new(device, setup, wanted, say)?;
        let on = machine.stepper.executor.name();
        if !began_on.is_empty() && began_on != on {
            say(&format!(
                "the run began on {began_on} and goes on on {on}: the numbers will differ in their last digits"
            ));
        }
        let micro = machine.stepper.micro_batch();
        if let Some(kept) = kept.filter(|kept| *kept != micro) {
            say(&format!(
                "micro-batches of {micro} instead of {kept}: the numbers will differ in their last digits"
            ));
        }
        counters.micro_batch = micro;
        if let Some(weights) = &weights {
            machine
                .stepper
                .set_weights(weights, &setup.folder.display().to_string())?;
        }
        if let Some(scale) = counters.loss_scale {
            machine.stepper.set_loss_scale(scale)?;
        }
        if setup.data.count(setup.eval_split()) > 0 {
            machine.evaluator(&setup.data, setup.eval_split())?;
        }
        machine.evaluator(&setup.data, Split::Test)?;
        machine.check_test_gaps(&setup.data)?;
        Ok(Self {
            setup,
            machine,
            counters,
            step,
            saved: weights.is_some().then_some(step),
            file: None,
            stop,
            clock: Clock::restart(),
        })
    }

    /// Updates done.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Updates before the last row of the metrics that this run goes on from.
    pub fn logged(&self) -> u64 {
        self.counters.logged.unwrap_or(self.step)
    }

    /// What makes the updates.
    pub fn stepper(&mut self) -> &mut Stepper {
        &mut self.machine.stepper
    }

    /// The device with all that is planned there, for more tests or another run.
    pub fn into_machine(self) -> Machine {
        self.machine
    }

    /// Trains to the end and tests.
    ///
    /// # Errors
    /// [`Error::Interrupted`] after a checkpoint if `stop` was set; [`NumericError::NotFinite`] and
    /// [`NumericError::NotFiniteInTest`]; the device's and the file system's.
    pub fn run(&mut self, watch: &mut dyn Watch) -> Result<Outcome> {
        let start = Instant::now();
        let before = self.counters.wall_s;
        let setup = self.setup;
        let threads = (rayon::current_num_threads() / 4).clamp(1, 4);
        let mut loader = Loader::new(
            Arc::clone(&setup.data),
            Split::Train,
            setup.recipe.batch,
            self.step..setup.steps(),
            threads,
        );
        self.clock = Clock::restart();
        loop {
            self.counters.wall_s = before + start.elapsed().as_secs_f64();
            let mut stopped = self.stop.load(Ordering::Relaxed);
            let due = setup.evaluates_after(self.step) && self.counters.evaluated != Some(self.step);
            if !stopped && due {
                stopped = !self.evaluate(watch)?;
            }
            if (stopped || setup.checkpoints_after(self.step)) && self.saved != Some(self.step) {
                self.checkpoint(watch)?;
            }
            if stopped {
                return Err(Error::Interrupted);
            }
            let began = Instant::now();
            let Some(batch) = loader.next() else { break };
            self.machine.stepper.step(self.step, &batch)?;
            self.counters.computed += self.machine.stepper.computed(&batch) as u64;
            self.step += 1;
            let reports = self.machine.stepper.collect()?;
            self.counters.update_s += began.elapsed().as_secs_f64();
            self.heard(&reports, watch)?;
        }
        let Some(test) = self.test()? else {
            return Err(Error::Interrupted);
        };
        self.counters.wall_s = before + start.elapsed().as_secs_f64();
        self.counters.loss_scale = self.machine.stepper.loss_scale()?;
        Ok(Outcome {
            test,
            counters: self.counters.clone(),
            peak_bytes: self
                .machine
                .bytes_for(&setup.data, &[setup.eval_split(), Split::Test]),
            variants: self.machine.stepper.variants(),
        })
    }

    fn drain(&mut self, watch: &mut dyn Watch) -> Result<()> {
        let began = Instant::now();
        let reports = self.machine.stepper.drain()?;
        self.counters.update_s += began.elapsed().as_secs_f64();
        self.heard(&reports, watch)
    }

    fn heard(&mut self, reports: &[StepReport], watch: &mut dyn Watch) -> Result<()> {
        let every = (self.setup.steps() / ROWS).max(1);
        for report in reports {
            if report.halted {
                return Err(self.diverged(report.step));
            }
            self.counters.tokens += report.tokens as u64;
            self.clock.tokens += report.tokens;
            let row = &mut self.counters.row;
            row.updates += 1;
            row.loss += report.loss;
            row.correct += report.correct;
            row.windows += report.windows;
            if !report.skipped {
                row.grad_norm = report.grad_norm;
            }
            watch.updated(report, self.clock.tokens_per_s());
            let done = report.step + 1;
            if done.is_multiple_of(every) && !self.setup.evaluates_after(done) {
                self.log(done, None, watch)?;
            }
        }
        Ok(())
    }

    /// Writes a row and begins the next one.
    fn log(&mut self, step: u64, evaluation: Option<Score>, watch: &mut dyn Watch) -> Result<()> {
        let sums = std::mem::take(&mut self.counters.row);
        let row = Row {
            step,
            tokens: self.counters.tokens,
            loss: sums.loss / sums.updates.max(1) as f64,
            train_accuracy: sums.correct / sums.windows.max(1.0),
            lr: self.machine.stepper.lr(step.saturating_sub(1)),
            grad_norm: sums.grad_norm,
            tokens_per_s: self.clock.tokens_per_s(),
            evaluation,
        };
        self.clock = Clock::restart();
        self.counters.logged = Some(step);
        watch.logged(&row)
    }

    /// False if a signal came in between.
    fn evaluate(&mut self, watch: &mut dyn Watch) -> Result<bool> {
        self.drain(watch)?;
        // The row's rate is that of the updates alone.
        let clock = std::mem::replace(&mut self.clock, Clock::restart());
        let elapsed = clock.start.elapsed();
        let split = self.setup.eval_split();
        let data = &self.setup.data;
        let (evaluator, executor) = self.machine.evaluator(data, split)?;
        let Some(score) = evaluator.run(executor, data, split, &mut until(self.stop))? else {
            return Ok(false);
        };
        self.clock = Clock {
            start: Instant::now().checked_sub(elapsed).unwrap_or(clock.start),
            tokens: clock.tokens,
        };
        let counters = &mut self.counters;
        counters.evaluated = Some(self.step);
        counters.accuracy = Some(score.accuracy);
        counters.evaluated_loss = Some(score.loss);
        if counters.best.is_none_or(|(_, best)| score.accuracy > best) {
            counters.best = Some((self.step, score.accuracy));
        }
        self.log(self.step, Some(score), watch)?;
        Ok(true)
    }

    fn test(&mut self) -> Result<Option<Score>> {
        let data = &self.setup.data;
        let (evaluator, executor) = self.machine.evaluator(data, Split::Test)?;
        evaluator.run(executor, data, Split::Test, &mut until(self.stop))
    }

    fn checkpoint(&mut self, watch: &mut dyn Watch) -> Result<()> {
        self.drain(watch)?;
        let weights = self.machine.stepper.weights()?;
        self.counters.loss_scale = self.machine.stepper.loss_scale()?;
        let broken = |values: &Vec<f32>| values.iter().position(|v| !v.is_finite());
        let wrong = weights
            .params
            .iter()
            .find_map(|(name, _, values)| Some((name, broken(values)?)));
        if let Some((name, index)) = wrong {
            return Err(self.not_finite(self.step, format!("the parameter `{name}`"), index));
        }
        let state = State {
            task: self.setup.task.clone(),
            model: self.setup.model_name.clone(),
            device: self.machine.stepper.executor.name(),
            config: self.setup.config.clone(),
            counters: self.counters.clone(),
        };
        let checkpoint = Checkpoint {
            step: self.step,
            params: weights.params,
            moment1: weights.moment1,
            moment2: weights.moment2,
            config_hash: fingerprint(&self.setup.config),
            state: serde_json::to_value(&state).expect("names and numbers have a JSON form"),
        };
        watch.saving()?;
        self.file = Some(checkpoint::save(&self.setup.folder, &checkpoint)?);
        self.saved = Some(self.step);
        Ok(())
    }

    /// Repeats the update that went wrong to say where.
    fn diverged(&mut self, step: u64) -> Error {
        let batch = self.setup.recipe.batch;
        let samples = self.setup.data.batch(Split::Train, step * batch as u64, batch);
        match self.machine.stepper.find_not_finite(step, &samples) {
            Err(e) => e,
            Ok((tensor, index)) => self.not_finite(step, tensor, index),
        }
    }

    fn not_finite(&self, step: u64, tensor: String, index: usize) -> Error {
        NumericError::NotFinite {
            step,
            tensor,
            index,
            checkpoint: match (&self.file, self.saved) {
                (Some(file), _) => file.display().to_string(),
                (None, Some(saved)) => format!("step {saved} in {}", self.setup.folder.display()),
                (None, None) => "none".to_owned(),
            },
        }
        .into()
    }
}

/// What a checkpoint holds besides the weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The task's name.
    pub task: String,
    /// The model's name.
    pub model: String,
    /// The device in words; earlier versions did not say.
    #[serde(default)]
    pub device: String,
    /// The run's config.toml without comments at its top; earlier versions kept the fingerprint alone.
    #[serde(default)]
    pub config: String,
    /// The run's counters.
    pub counters: Counters,
}

/// A checkpoint, as runs and tests use it.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    /// Updates done.
    pub step: u64,
    /// Names and counters.
    pub state: State,
    /// Everything that updates change.
    pub weights: Weights,
    /// Fingerprint of the configuration.
    pub config_hash: String,
}

impl Saved {
    /// The latest intact checkpoint of a folder. `say` hears what is wrong with newer ones.
    ///
    /// # Errors
    /// [`UserError::Folder`] if no checkpoint of the folder is intact, or it is not one of ours.
    pub fn latest(folder: &Path, say: &mut dyn FnMut(&str)) -> Result<Option<Self>> {
        let Some((found, damaged)) = checkpoint::latest(folder)? else {
            return Ok(None);
        };
        for text in &damaged {
            say(text);
        }
        let state = serde_json::from_value(found.state).map_err(|e| UserError::Folder {
            path: folder.to_owned(),
            reason: format!("the state in its checkpoint cannot be read: {e}"),
        })?;
        Ok(Some(Self {
            step: found.step,
            state,
            weights: Weights {
                params: found.params,
                moment1: found.moment1,
                moment2: found.moment2,
            },
            config_hash: found.config_hash,
        }))
    }
}

//! What a run needs around its session: statistics of its data counted meanwhile, and its result.

use super::records::RunResult;
use super::session::{Outcome, Setup};
use super::setup;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::tasks::{Counted, DataSet, Split, Statistics};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Statistics of a data set, counted in the background while a model trains.
pub struct Counting {
    counting: Option<JoinHandle<Statistics>>,
    counted: Arc<Counted>,
    total: u64,
    done: Option<Statistics>,
}

impl Counting {
    /// Begins to count what so many training samples say.
    pub fn new(data: Arc<DataSet>, used: u64) -> Self {
        // A pool of its own, so that updates do not queue behind it.
        let threads = (rayon::current_num_threads() / 4).max(1);
        let counted = Arc::new(Counted::default());
        let shared = Arc::clone(&counted);
        let own = Arc::clone(&data);
        let count = move || match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
            Ok(pool) => pool.install(|| own.statistics(used, &shared)),
            Err(_) => own.statistics(used, &shared),
        };
        let counting = std::thread::Builder::new().spawn(count).ok();
        // Where the system has no room for a thread, nothing else can begin before it is done.
        let done = counting.is_none().then(|| data.statistics(used, &counted));
        Self {
            counting,
            counted,
            total: used.min(data.count(Split::Train)),
            done,
        }
    }

    /// What was found, once: when it is there and was not told before.
    ///
    /// # Panics
    /// If counting has panicked.
    pub fn look(&mut self) -> Option<&Statistics> {
        let handle = self.counting.take_if(|handle| handle.is_finished())?;
        let statistics = handle
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Some(self.done.insert(statistics))
    }

    /// Samples counted, and all that will be.
    pub fn progress(&self) -> (u64, u64) {
        (self.counted.done.load(Ordering::Relaxed), self.total)
    }

    /// What was found, once it is there, now counted on all threads. `hear` is told how far it is.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if `stop` is set before.
    pub fn wait(&mut self, stop: &AtomicBool, mut hear: impl FnMut(&Self)) -> Result<Statistics> {
        self.counted.hurry.store(true, Ordering::Relaxed);
        loop {
            self.look();
            if let Some(statistics) = &self.done {
                return Ok(statistics.clone());
            }
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            hear(self);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.counted.stop.store(true, Ordering::Relaxed);
    }
}

/// The result of a run that is done.
pub fn run_result(
    run: &Setup,
    config: &Config,
    outcome: &Outcome,
    statistics: &Statistics,
    params: usize,
    device: String,
) -> RunResult {
    let steps = run.recipe.schedule.steps;
    let counters = &outcome.counters;
    let seconds = counters.update_s.max(1e-9);
    RunResult {
        task: run.task.clone(),
        model: run.model_name.clone(),
        params: params as u64,
        d_model: config.model.sizes.d_model,
        layers: run.model.blocks.len(),
        seed: config.train.seed,
        lr: config.train.lr,
        steps,
        loss: outcome.test.loss,
        accuracy: outcome.test.accuracy,
        chance: statistics.chance,
        ceiling: statistics.ceiling,
        device,
        precision: run.model.precision.name().to_owned(),
        wall_s: counters.wall_s,
        steps_per_s: steps as f64 / seconds,
        tokens_per_s: counters.tokens as f64 / seconds,
        peak_bytes: outcome.peak_bytes as u64,
        baseline_constant: statistics.constant,
        baseline_n1: statistics.n1,
        baseline_n2: statistics.n2,
        kl: outcome.test.kl,
        blocks: run
            .model
            .blocks
            .iter()
            .map(|block| block.name().to_owned())
            .collect(),
        sizes: setup::sizes(&config.model.sizes),
        variants: outcome.variants.clone(),
        skipped: counters.loss_scale.map(|scale| scale.skipped as u64),
    }
}

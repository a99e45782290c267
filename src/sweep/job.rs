//! One group of runs from its first update to its last file: train once, test each, keep what is to be kept.

use super::details::Details;
use super::file::Keep;
use super::grid::PlannedRun;
use super::plan::{self, Plan, Status, run_folder};
use super::shared::{Shared, data_key, lock};
use super::{Event, Report};
use crate::config::Config;
use crate::error::{Error, Result, UserError};
use crate::tasks::{DataSet, Split, Statistics};
use crate::tensor::Precision;
use crate::train::Recorder;
use crate::train::claim::Claim;
use crate::train::folder::{self, Folder};
use crate::train::records::{METRICS_FILE, atomic};
use crate::train::{
    Counters, Counting, Device, Machine, Outcome, Row, Saved, Session, Setup, StepReport, Watch, checkpoint,
    run_result, setup, until,
};
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What all groups share.
pub(super) struct Bench<'a> {
    pub(super) plan: &'a Plan,
    pub(super) folder: &'a Path,
    pub(super) report: &'a dyn Report,
    pub(super) shared: Shared,
    pub(super) statistics: Mutex<HashMap<String, Arc<Mutex<Counting>>>>,
}

/// How a group ended.
pub(super) struct Ended {
    /// The device, unless it is no longer fit for use.
    pub(super) device: Option<Device>,
    /// Why the worker cannot go on.
    pub(super) fatal: Option<Error>,
    /// Time in which the device had work.
    pub(super) busy: Duration,
}

/// One worker's view of its group.
pub(super) struct Job<'a> {
    pub(super) bench: &'a Bench<'a>,
    pub(super) worker: usize,
    /// Set to end what runs: by a signal, or when a claim is lost.
    pub(super) halt: &'a Arc<AtomicBool>,
    pub(super) busy: Duration,
}

impl Bench<'_> {
    /// Makes what a run needs and does not need a device for.
    pub(super) fn setup(&self, run: &PlannedRun) -> Result<Setup> {
        let data = self.shared.data(&run.config)?;
        self.count(&run.config, &data);
        let model = setup::model(&run.config, Some(&run.model), data.grammar())?;
        Ok(Setup {
            recipe: setup::recipe(&run.config),
            eval_every: run.config.train.eval_every,
            checkpoint_every: run.config.train.checkpoint_every,
            config: kept(run, &data).to_toml(""),
            model,
            data,
            task: run.task.clone(),
            model_name: run.model.clone(),
            folder: run_folder(self.folder, run),
        })
    }

    /// Statistics of a run's data: counted once for all runs that share them, beside whatever trains.
    fn count(&self, config: &Config, data: &Arc<DataSet>) -> Arc<Mutex<Counting>> {
        let mut all = lock(&self.statistics);
        let used = config.train.samples_used();
        let counting = all
            .entry(format!("{} {used}", data_key(config)))
            .or_insert_with(|| Arc::new(Mutex::new(Counting::new(Arc::clone(data), used))));
        Arc::clone(counting)
    }

    fn statistics(
        &self,
        run: &PlannedRun,
        data: &Arc<DataSet>,
        stop: &AtomicBool,
        worker: usize,
    ) -> Result<Statistics> {
        let counting = self.count(&run.config, data);
        let mut counting = lock(&counting);
        counting.wait(stop, |counting| {
            let (done, samples) = counting.progress();
            self.report.event(worker, Event::Counting { run, done, samples });
        })
    }
}

/// What a run's folder keeps of its configuration.
fn kept(run: &PlannedRun, data: &DataSet) -> Config {
    setup::kept(&run.config, [&run.task, &run.model], Precision::F32, data)
}

impl<'a> Job<'a> {
    /// Makes all results of a group that are missing.
    pub(super) fn run(mut self, group: &[usize], device: Device) -> Ended {
        let plan = self.bench.plan;
        let runs: Vec<&PlannedRun> = group.iter().map(|&i| &plan.runs[i]).collect();
        let mut device = Some(device);
        let outcome = self.group(&runs, &mut device);
        let fatal = match outcome {
            Ok(()) => None,
            Err(e) if ends_all(&e) => Some(e),
            Err(_) => None,
        };
        self.tidy(&runs);
        Ended {
            device,
            fatal,
            busy: self.busy,
        }
    }

    /// Errors are those that end the group; each has been recorded.
    fn group(&mut self, runs: &[&'a PlannedRun], device: &mut Option<Device>) -> Result<()> {
        let open = |run: &&&PlannedRun| plan::status(self.bench.folder, run).is_open();
        let mut left: Vec<&PlannedRun> = runs.iter().filter(open).copied().collect();
        if left.is_empty() {
            return Ok(());
        }
        let done = runs.iter().filter(|run| !left.contains(run));
        let trained = done.copied().find_map(|run| Some((run, self.weights(run)?)));
        let (mut machine, counters, source) = match trained {
            Some((run, saved)) => {
                let setup = self.bench.setup(run)?;
                let counters = saved.state.counters.clone();
                let taken = device.take().expect("a group begins with a device");
                let session = Session::new(&setup, taken, None, Some(saved), &mut |_| {}, self.halt);
                (session?.into_machine(), counters, run)
            }
            None => {
                let begun = |run: &&PlannedRun| folder::is_begun(&run_folder(self.bench.folder, run));
                let at = left.iter().position(begun).unwrap_or(0);
                let run = left.remove(at);
                match self.recorded(run, |job| job.train(run, device)) {
                    Ok((machine, counters)) => (machine, counters, run),
                    Err(e) => {
                        // They would have been tested with the same weights.
                        for run in left.iter().filter(|_| is_the_runs_own(&e)) {
                            plan::record_failure(&run_folder(self.bench.folder, run), &e)?;
                            self.bench.report.event(self.worker, Event::Left(run, &e));
                        }
                        return Err(e);
                    }
                }
            }
        };
        for run in left {
            let tested = self.recorded(run, |job| job.test(run, &mut machine, &counters, source));
            if let Err(e) = tested
                && (ends_all(&e) || matches!(e, Error::Device(_)))
            {
                return Err(e);
            }
        }
        *device = Some(Device::Used(Box::new(machine)));
        Ok(())
    }

    /// Reports a run's beginning and end, and records why it failed.
    fn recorded<T>(&mut self, run: &PlannedRun, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let report = self.bench.report;
        report.event(self.worker, Event::Began(run));
        let made = work(self);
        match &made {
            Ok(_) => report.event(
                self.worker,
                Event::Ended(run, &plan::status(self.bench.folder, run)),
            ),
            Err(e) => {
                if is_the_runs_own(e) {
                    plan::record_failure(&run_folder(self.bench.folder, run), e)?;
                }
                report.event(self.worker, Event::Left(run, e));
            }
        }
        made
    }

    /// Trains a run, or goes on with it, and tests it.
    fn train(&mut self, run: &'a PlannedRun, device: &mut Option<Device>) -> Result<(Machine, Counters)> {
        let mut setup = self.bench.setup(run)?;
        let claim = self.claim(&setup.folder)?;
        let report = self.bench.report;
        let worker = self.worker;
        let mut say = |text: &str| report.event(worker, Event::Said(run, text));
        let saved = match folder::look(&setup, true, &run.config, &mut say)? {
            Folder::Begun(saved) => saved.map(|saved| {
                setup.config.clone_from(&saved.state.config);
                *saved
            }),
            Folder::Fresh => None,
            // Another process was here a moment ago.
            Folder::Finished(_) => {
                let by = "a process that has just finished it".to_owned();
                return Err(UserError::InUse {
                    path: setup.folder,
                    by,
                }
                .into());
            }
        };
        plan::forget_failure(&setup.folder);
        let taken = device.take().expect("a group begins with a device");
        let mut session = Session::new(&setup, taken, None, saved, &mut say, self.halt)?;
        let on = session.stepper().runs_on();
        claim.check()?;
        folder::create(&setup.folder, &kept(run, &setup.data), setup.data.grammar(), &on)?;
        let mut live = Live {
            run,
            worker,
            steps: setup.recipe.schedule.steps,
            report,
            recorder: Recorder::open(claim, session.logged(), &mut say)?,
            accuracy: None,
        };
        let began = Instant::now();
        let outcome = session.run(&mut live);
        self.busy += began.elapsed();
        let Live { recorder, .. } = live;
        recorder.check()?;
        let mut machine = session.into_machine();
        match outcome.and_then(|outcome| {
            self.finish(run, &setup, &mut machine, &outcome, recorder)?;
            Ok(outcome.counters)
        }) {
            Ok(counters) => Ok((machine, counters)),
            Err(e) => {
                // A device that broke is opened anew.
                if !matches!(e, Error::Device(_)) {
                    *device = Some(Device::Used(Box::new(machine)));
                }
                Err(e)
            }
        }
    }

    /// Tests a run whose weights are those of another one.
    fn test(
        &mut self,
        run: &PlannedRun,
        machine: &mut Machine,
        counters: &Counters,
        source: &PlannedRun,
    ) -> Result<()> {
        let setup = self.bench.setup(run)?;
        let claim = self.claim(&setup.folder)?;
        if let Folder::Finished(_) = folder::look(&setup, true, &run.config, &mut |_| {})? {
            return Ok(());
        }
        plan::forget_failure(&setup.folder);
        let began = Instant::now();
        let (evaluator, executor) = machine.evaluator(&setup.data, Split::Test)?;
        let test = evaluator.run(executor, &setup.data, Split::Test, &mut until(self.halt))?;
        self.busy += began.elapsed();
        let outcome = Outcome {
            test: test.ok_or(Error::Interrupted)?,
            counters: counters.clone(),
            peak_bytes: machine.bytes_for(&setup.data, &[setup.eval_split(), Split::Test]),
            variants: machine.stepper().variants(),
        };
        let on = format!(
            "{} with the weights of {}",
            machine.stepper().runs_on(),
            source.id
        );
        claim.check()?;
        folder::create(&setup.folder, &kept(run, &setup.data), setup.data.grammar(), &on)?;
        let curve = run_folder(self.bench.folder, source).join(METRICS_FILE);
        copy(&curve, &setup.folder.join(METRICS_FILE))?;
        let recorder = Recorder::open(claim, setup.recipe.schedule.steps, &mut |_| {})?;
        self.finish(run, &setup, machine, &outcome, recorder)
    }

    /// Writes what is known of a tested run, its result last.
    fn finish(
        &mut self,
        run: &PlannedRun,
        setup: &Setup,
        machine: &mut Machine,
        outcome: &Outcome,
        mut recorder: Recorder,
    ) -> Result<()> {
        let began = Instant::now();
        let details = Details::find(machine, setup, outcome, self.halt)?.ok_or(Error::Interrupted)?;
        self.busy += began.elapsed();
        let statistics = self.bench.statistics(run, &setup.data, self.halt, self.worker)?;
        let device = machine.stepper().executor.name();
        let result = run_result(setup, &run.config, outcome, &statistics, run.params, device);
        recorder.check()?;
        details.write(&setup.folder)?;
        recorder.finish(&result)
    }

    fn claim(&self, folder: &Path) -> Result<Claim> {
        let halt = Arc::clone(self.halt);
        Claim::take(folder, move || halt.store(true, Ordering::SeqCst))
    }

    /// The final weights of a run that is done, if they are still there.
    fn weights(&self, run: &PlannedRun) -> Option<Saved> {
        let saved = Saved::latest(&run_folder(self.bench.folder, run), &mut |_| {}).ok()??;
        (saved.step == run.config.train.steps).then_some(saved)
    }

    /// Removes checkpoints that are not to be kept, once no run of the group needs them any more.
    fn tidy(&self, runs: &[&PlannedRun]) {
        let statuses: Vec<Status> = runs
            .iter()
            .map(|run| plan::status(self.bench.folder, run))
            .collect();
        if statuses.iter().any(Status::is_open) {
            return;
        }
        let kept = match self.bench.plan.keep {
            Keep::All => return,
            Keep::Weights => 1,
            Keep::Results => 0,
        };
        for (run, status) in runs.iter().zip(statuses) {
            if matches!(status, Status::Done(_)) {
                checkpoint::remove_all_but(&run_folder(self.bench.folder, run), kept);
            }
        }
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let text = std::fs::read(from).map_err(|source| Error::Io {
        action: "read",
        path: from.to_owned(),
        source,
    })?;
    atomic::replace(to, |out| out.write_all(&text))
}

/// Whether an error is to be recorded with its run: not if another process has the run, or the sweep ends with it.
fn is_the_runs_own(error: &Error) -> bool {
    let others = matches!(
        error,
        Error::ClaimLost { .. } | Error::User(UserError::InUse { .. })
    );
    !others && !ends_all(error)
}

/// Whether an error is no run's own: every other run would meet it too.
fn ends_all(error: &Error) -> bool {
    match error {
        Error::Interrupted => true,
        Error::Io { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
        _ => false,
    }
}

/// Tells the sweep's display what a run does, and the run's records.
struct Live<'a> {
    run: &'a PlannedRun,
    worker: usize,
    steps: u64,
    report: &'a dyn Report,
    recorder: Recorder,
    accuracy: Option<f64>,
}

impl Watch for Live<'_> {
    fn updated(&mut self, report: &StepReport, tokens_per_s: f64) {
        let event = Event::Updated {
            run: self.run,
            done: report.step + 1,
            steps: self.steps,
            tokens_per_s,
            accuracy: self.accuracy,
        };
        self.report.event(self.worker, event);
    }

    fn logged(&mut self, row: &Row) -> Result<()> {
        if let Some(score) = &row.evaluation {
            self.accuracy = Some(score.accuracy);
        }
        self.recorder.row(row)
    }

    fn saving(&mut self) -> Result<()> {
        self.recorder.sync()
    }
}

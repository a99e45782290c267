//! Workers: one a device, that take groups of runs until none is left.

use super::job::{Bench, Job};
use super::plan::{self, Plan, Status};
use super::shared::{Shared, lock};
use super::tables::Tables;
use super::{Event, Report};
use crate::error::{DeviceError, Error, Result};
use crate::train::{Device, Executor, ahead, claim};
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How often the main thread looks for signals and at other processes' runs.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Time between two looks at runs that other processes have.
const OTHERS_EVERY: Duration = Duration::from_secs(5);
/// Time between two writings of the tables while runs go on.
const TABLES_EVERY: Duration = Duration::from_secs(20);
/// How often runs are begun that other processes have, or that leave no trace of why they ended.
const TRIES: u32 = 3;
/// Devices that break this often in a row are given up.
const BREAKS: u32 = 3;

/// How a sweep is run.
pub struct Options<'a> {
    /// Opens the devices: names as [`Executor::open`] takes them, one worker each.
    pub devices: Vec<String>,
    /// These runs alone, by name; empty: all.
    pub only: Vec<String>,
    /// Whether to wait for runs that other processes have begun.
    pub wait: bool,
    /// Set to stop: checkpoints are written first.
    pub stop: &'a AtomicBool,
}

/// A worker's hours.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerTime {
    /// The device in words.
    pub device: String,
    /// From its first run to the end of its last.
    pub total: Duration,
    /// Of that, the time in which updates and tests ran.
    pub busy: Duration,
}

impl WorkerTime {
    /// Share of the time in which the device had nothing to do.
    pub fn idle_share(&self) -> f64 {
        1.0 - self.busy.as_secs_f64() / self.total.as_secs_f64().max(1e-9)
    }
}

/// What has become of the runs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Totals {
    /// Runs with a result.
    pub done: usize,
    /// Runs that failed.
    pub failed: usize,
    /// Runs that diverged.
    pub diverged: usize,
    /// Runs without either.
    pub missing: usize,
}

/// How a sweep ended.
#[derive(Debug)]
pub struct Ended {
    /// One for each device that had work, however it ended.
    pub workers: Vec<WorkerTime>,
    /// What has become of the runs, unless something ended the sweep before.
    pub outcome: Result<Totals>,
}

/// Groups that nobody of this process has taken, with their shapes, the next one last.
struct Queue(Vec<(String, Vec<usize>)>);

/// What groups are kept apart by: programs are planned anew from one shape to another.
fn shape(plan: &Plan, group: &[usize]) -> String {
    let run = &plan.runs[group[0]];
    let config = &run.config;
    let batch = (config.train.batch, &config.data.gap);
    format!("{} {} {:?} {batch:?}", run.task, run.model, config.model)
}

impl Queue {
    fn new(plan: &Plan, groups: Vec<Vec<usize>>) -> Self {
        let with_shape = |group: Vec<usize>| (shape(plan, &group), group);
        let mut groups: Vec<_> = groups.into_iter().map(with_shape).collect();
        // Runs of one shape come one after the other.
        groups.sort_by(|a, b| b.cmp(a));
        Self(groups)
    }

    /// Takes the next group, of this shape if there is one.
    fn take(&mut self, last: Option<&str>) -> Option<(String, Vec<usize>)> {
        match last.and_then(|last| self.of_shape(last)) {
            Some(at) => Some(self.0.remove(at)),
            None => self.0.pop(),
        }
    }

    /// What [`Queue::take`] would take.
    fn peek(&self, last: &str) -> Option<&Vec<usize>> {
        let next = match self.of_shape(last) {
            Some(at) => self.0.get(at),
            None => self.0.last(),
        };
        next.map(|(_, group)| group)
    }

    fn of_shape(&self, wanted: &str) -> Option<usize> {
        self.0.iter().rposition(|(shape, _)| shape == wanted)
    }
}

/// Makes all results that are missing and writes the tables. The folder holds the plan already. The outcome is
/// [`Error::Interrupted`] if `stop` was set; [`Error::Io`] if the disk is full; the error of the last device if none is
/// left. What single runs meet is recorded with them and is no error here.
pub fn run(plan: &Plan, folder: &Path, options: &Options<'_>, report: &dyn Report) -> Ended {
    // Of each device: two of one machine may have one name.
    let mut times = vec![None; options.devices.len()];
    let outcome = make(plan, folder, options, report, &mut times);
    let workers = times.into_iter().flatten().collect();
    Ended { workers, outcome }
}

fn make(
    plan: &Plan,
    folder: &Path,
    options: &Options<'_>,
    report: &dyn Report,
    times: &mut [Option<WorkerTime>],
) -> Result<Totals> {
    let bench = Bench {
        plan,
        folder,
        report,
        shared: Shared::default(),
        statistics: Mutex::new(HashMap::new()),
    };
    let tables = Mutex::new(Tables::new(plan, folder));
    let write_tables = || match is_last(plan, folder, options) {
        true => lock(&tables).write_all(),
        false => Ok(()),
    };
    let wanted = |i: usize| options.only.is_empty() || options.only.contains(&plan.runs[i].id);
    let mut tries: HashMap<usize, u32> = HashMap::new();
    loop {
        let open: Vec<Vec<usize>> = plan
            .groups()
            .into_iter()
            .filter(|group| {
                group
                    .iter()
                    .any(|&i| wanted(i) && plan::status(folder, &plan.runs[i]).is_open())
            })
            .collect();
        let free = |group: &Vec<usize>| !group.iter().any(|&i| is_held(folder, &plan.runs[i].id));
        let is_missing = |i: &usize| matches!(plan::status(folder, &plan.runs[*i]), Status::Missing);
        // What failed in this process is not tried again by it.
        let wanted = |group: &Vec<usize>| match tries.get(&group[0]) {
            None => true,
            Some(n) => *n < TRIES && group.iter().any(is_missing),
        };
        let (ready, held): (Vec<_>, Vec<_>) = open.into_iter().filter(wanted).partition(free);
        if !ready.is_empty() {
            for group in &ready {
                *tries.entry(group[0]).or_default() += 1;
            }
            let queue = Mutex::new(Queue::new(plan, ready));
            let (found, error) = crew(&bench, options, &queue, &tables);
            for (known, time) in times.iter_mut().zip(found) {
                match (known, time) {
                    (Some(known), Some(time)) => {
                        known.total += time.total;
                        known.busy += time.busy;
                    }
                    (known @ None, time) => *known = time,
                    (Some(_), None) => {}
                }
            }
            if let Some(error) = error {
                write_tables()?;
                return Err(error);
            }
            continue;
        }
        if held.is_empty() || !options.wait {
            break;
        }
        wait_for(OTHERS_EVERY, options.stop)?;
    }
    write_tables()?;
    let mut totals = Totals::default();
    for (_, run) in plan.runs.iter().enumerate().filter(|(i, _)| wanted(*i)) {
        match plan::status(folder, run) {
            Status::Done(_) => totals.done += 1,
            Status::Failed(_) => totals.failed += 1,
            Status::Diverged(_) => totals.diverged += 1,
            Status::Missing => totals.missing += 1,
        }
    }
    Ok(totals)
}

/// Whether the tables are this process's to write: one that makes single runs of many leaves them to the one that makes the
/// last, as each would read all that is there.
fn is_last(plan: &Plan, folder: &Path, options: &Options<'_>) -> bool {
    let is_missing = |run| matches!(plan::status(folder, run), Status::Missing);
    options.only.is_empty() || !plan.runs.iter().any(is_missing)
}

/// Whether a living process has claimed a run.
fn is_held(folder: &Path, id: &str) -> bool {
    let own = folder.join(id);
    own.is_dir() && claim::holder(&own).is_ok_and(|owner| owner.is_some())
}

fn wait_for(time: Duration, stop: &AtomicBool) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < time {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Empties the queue with one worker a device: what each did, and why the sweep cannot go on.
fn crew(
    bench: &Bench<'_>,
    options: &Options<'_>,
    queue: &Mutex<Queue>,
    tables: &Mutex<Tables<'_>>,
) -> (Vec<Option<WorkerTime>>, Option<Error>) {
    let halts: Vec<Arc<AtomicBool>> = options.devices.iter().map(|_| Arc::default()).collect();
    let ended = std::thread::scope(|scope| {
        let workers: Vec<_> = options
            .devices
            .iter()
            .zip(&halts)
            .enumerate()
            .map(|(worker, (device, halt))| {
                scope.spawn(move || work(bench, options, queue, tables, worker, device, halt))
            })
            .collect();
        while !workers.iter().all(|worker| worker.is_finished()) {
            if options.stop.load(Ordering::Relaxed) {
                halts.iter().for_each(|halt| halt.store(true, Ordering::SeqCst));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let join = |worker: std::thread::ScopedJoinHandle<'_, (Option<WorkerTime>, Option<Error>)>| {
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().map(join).collect::<Vec<_>>()
    });
    let (times, errors): (Vec<_>, Vec<_>) = ended.into_iter().unzip();
    let left = !lock(queue).0.is_empty();
    let error = errors
        .into_iter()
        .flatten()
        .find(|e| left || !matches!(e, Error::Device(_)));
    (times, error)
}

/// One worker: what it did, and why it stopped before the queue was empty.
fn work(
    bench: &Bench<'_>,
    options: &Options<'_>,
    queue: &Mutex<Queue>,
    tables: &Mutex<Tables<'_>>,
    worker: usize,
    name: &str,
    halt: &Arc<AtomicBool>,
) -> (Option<WorkerTime>, Option<Error>) {
    let locked = || lock(queue);
    let mut device: Option<Device> = None;
    let mut time: Option<WorkerTime> = None;
    let mut started = None;
    let mut breaks = 0;
    let mut last: Option<String> = None;
    let mut error = None;
    while error.is_none() {
        let Some((this, group)) = locked().take(last.as_deref()) else {
            break;
        };
        if options.stop.load(Ordering::Relaxed) {
            locked().0.push((this, group));
            error = Some(Error::Interrupted);
            break;
        }
        let mut ready = match device.take() {
            Some(device) => device,
            None => match Executor::open(name, &mut |_| {}) {
                Ok(executor) => {
                    time.get_or_insert(WorkerTime {
                        // Two cards of one machine may have one name.
                        device: match options.devices.len() {
                            1 => executor.name(),
                            _ => format!("{name}: {}", executor.name()),
                        },
                        total: Duration::ZERO,
                        busy: Duration::ZERO,
                    });
                    started.get_or_insert_with(Instant::now);
                    Device::New(executor)
                }
                Err(e) => {
                    locked().0.push((this, group));
                    error = Some(e);
                    break;
                }
            },
        };
        halt.store(options.stop.load(Ordering::SeqCst), Ordering::SeqCst);
        let compiler = ready.compiler();
        let after = locked().peek(&this).map(|group| &bench.plan.runs[group[0]]);
        let job = Job {
            bench,
            worker,
            halt,
            busy: Duration::ZERO,
        };
        let ended = std::thread::scope(|scope| {
            if let Some(run) = after {
                // Grammar, data, statistics and kernels of the run that comes next, while this one trains. What fails there
                // fails again when its turn comes.
                scope.spawn(move || {
                    let setup = bench.setup(run)?;
                    compiler.map_or(Ok(()), |compiler| ahead::compile(&setup, &*compiler))
                });
            }
            job.run(&group, ready)
        });
        last = Some(this);
        if let (Some(time), Some(started)) = (&mut time, &started) {
            time.busy += ended.busy;
            time.total = Instant::elapsed(started);
        }
        breaks = if ended.device.is_none() { breaks + 1 } else { 0 };
        device = ended.device;
        let written = match options.only.is_empty() {
            true => lock(tables).write_some(TABLES_EVERY),
            false => Ok(()),
        };
        error = ended.fatal.or(written.err());
        if error.is_none() && breaks >= BREAKS {
            error = Some(Error::Device(DeviceError::Driver {
                adapter: name.to_owned(),
                message: format!("{BREAKS} runs failed here, one after the other"),
            }));
        }
    }
    bench.report.event(worker, Event::Closed(error.as_ref()));
    (time, error)
}

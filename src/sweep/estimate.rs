//! What a sweep will take, from updates that are measured here: hours, bytes on the disk and on the device.

use super::file::Keep;
use super::grid::PlannedRun;
use super::plan::{self, Plan};
use super::shared::Shared;
use crate::error::Result;
use crate::graph::Graph;
use crate::tasks::{Batch, Split};
use crate::train::{Device, Executor, Session, Setup, setup};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Time beyond which no further shape is measured.
const PATIENCE: Duration = Duration::from_secs(60);
/// Updates that are timed, after one that is not.
const TIMED: u64 = 3;
/// Time after which the updates of a shape are enough.
const ENOUGH: Duration = Duration::from_secs(5);
/// Bytes that a run without weights leaves, about: metrics, events, curve, explained accuracies.
const RECORD_BYTES: u64 = 300_000;
/// Banks in a checkpoint.
const CHECKPOINT_BANKS: u64 = 3;

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// Runs in all.
    pub runs: usize,
    /// Runs that are missing, of these.
    pub missing: usize,
    /// Trainings that these take: runs that differ in the test gap alone train once.
    pub trainings: usize,
    /// Training time of what is missing, on this device alone; evaluations and tests are not in it. None if nothing could
    /// be timed before it was to stop.
    pub time: Option<Duration>,
    /// Shapes whose updates were timed, of all that are missing; the others' times follow from their FLOPs.
    pub measured: [usize; 2],
    /// Bytes on the disk when all is done.
    pub disk_bytes: u64,
    /// Bytes of the largest checkpoints while a run goes on.
    pub working_bytes: u64,
    /// Most bytes that a measured shape held on the device, if one was measured.
    pub device_bytes: Option<u64>,
}

struct Shape<'a> {
    run: &'a PlannedRun,
    flops: f64,
    updates: u64,
    time: Option<Duration>,
}

/// Plans and times what is missing on a device, until it is to stop. Writes nothing. `say` hears what is being timed.
///
/// # Errors
/// The device's; what a model cannot be planned for.
pub fn estimate(
    plan: &Plan,
    folder: Option<&Path>,
    device: Executor,
    say: &mut dyn FnMut(&str),
    stop: &AtomicBool,
) -> Result<Estimate> {
    let stopped = || stop.load(Ordering::Relaxed);
    let open = |i: &usize| folder.is_none_or(|folder| plan::status(folder, &plan.runs[*i]).is_open());
    let groups: Vec<Vec<usize>> = plan.groups();
    let missing = groups.iter().flatten().filter(|i| open(i)).count();
    let open_groups: Vec<&Vec<usize>> = groups.iter().filter(|group| group.iter().any(&open)).collect();
    let trainings = open_groups.len();
    let mut shapes: BTreeMap<String, Shape<'_>> = BTreeMap::new();
    let shared = Shared::default();
    for group in open_groups {
        if stopped() {
            break;
        }
        let run = &plan.runs[group[0]];
        let config = &run.config;
        let key = format!(
            "{} {:?} {:?}",
            run.model,
            config.model,
            (config.train.batch, &config.data, &config.grammar)
        );
        // Seeds change neither sizes nor times.
        let key = without_seed(&key);
        let updates = config.train.steps;
        if let Some(shape) = shapes.get_mut(&key) {
            shape.updates += updates;
            continue;
        }
        let data = shared.data(config)?;
        let model = setup::model(config, Some(&run.model), data.grammar())?;
        let net = model.train_net(1, data.max_steps(Split::Train), data.spec().length)?;
        let flops = config.train.batch as f64 * flops(&net.graph);
        shapes.insert(
            key,
            Shape {
                run,
                flops,
                updates,
                time: None,
            },
        );
    }
    let mut ordered: Vec<&mut Shape<'_>> = shapes.values_mut().collect();
    ordered.sort_by(|a, b| a.flops.total_cmp(&b.flops));
    let mut device = Some(Device::New(device));
    let mut device_bytes = None;
    let start = Instant::now();
    let count = ordered.len();
    let order = spread(count);
    let mut measured = 0;
    let mut known: Vec<(f64, Duration)> = Vec::new();
    for at in order {
        if stopped() {
            break;
        }
        let shape = &mut ordered[at];
        // A shape of which one update takes too long is left out.
        if measured > 0 && start.elapsed() + scaled(shape.flops, &known) > PATIENCE {
            continue;
        }
        say(&format!(
            "timing {} ({} of {count} shapes)",
            shape.run.id,
            measured + 1
        ));
        let taken = device.take().expect("it comes back after each shape");
        let (used, time, bytes) = time_updates(shape.run, &shared, taken, stop)?;
        device = Some(used);
        device_bytes = device_bytes.max(Some(bytes));
        let Some(time) = time else {
            break;
        };
        shape.time = Some(time);
        known.push((shape.flops, time));
        measured += 1;
    }
    let shape_time = |shape: &&mut Shape<'_>| {
        let update = shape.time.unwrap_or_else(|| scaled(shape.flops, &known));
        update.mul_f64(shape.updates as f64)
    };
    let known_all = trainings == 0 || !known.is_empty();
    let time = known_all.then(|| ordered.iter().map(shape_time).sum());
    let checkpoint = |run: &PlannedRun| 4 * CHECKPOINT_BANKS * run.params as u64;
    let kept = match plan.keep {
        Keep::Results => 0,
        Keep::Weights => 1,
        Keep::All => 2,
    };
    Ok(Estimate {
        runs: plan.runs.len(),
        missing,
        trainings,
        time,
        measured: [measured, count],
        disk_bytes: plan
            .runs
            .iter()
            .map(|run| RECORD_BYTES + kept * checkpoint(run))
            .sum(),
        // Two that are kept and one that is being written.
        working_bytes: plan.runs.iter().map(|run| 3 * checkpoint(run)).max().unwrap_or(0),
        device_bytes,
    })
}

/// Debug text without its seeds.
fn without_seed(text: &str) -> String {
    let mut parts = text.split("seed: ");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    out
}

fn flops(graph: &Graph) -> f64 {
    graph
        .calls()
        .iter()
        .map(|call| call.op.cost(call.pass, graph.precision()).flops)
        .sum()
}

/// The places 0 .. n, the smallest first, then the largest, then what halves the widest gaps.
fn spread(n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::with_capacity(n);
    if n > 0 {
        order.push(0);
    }
    let mut step = n.saturating_sub(1);
    while step > 0 {
        for at in (0..n).step_by(step) {
            if !order.contains(&at) {
                order.push(at);
            }
        }
        step /= 2;
    }
    order
}

/// The time of a shape that was not measured: that of the nearest one, by FLOPs.
fn scaled(flops: f64, known: &[(f64, Duration)]) -> Duration {
    let nearest = known.iter().min_by(|a, b| {
        let far = |(other, _): &(f64, Duration)| (flops / other).ln().abs();
        far(a).total_cmp(&far(b))
    });
    nearest.map_or(Duration::ZERO, |(other, time)| {
        time.mul_f64((flops / other).max(0.0))
    })
}

/// Times the updates of a run: none if it is to stop before one was timed. Also the bytes that they take.
fn time_updates(
    run: &PlannedRun,
    shared: &Shared,
    device: Device,
    stop: &AtomicBool,
) -> Result<(Device, Option<Duration>, u64)> {
    let data = shared.data(&run.config)?;
    let setup = Setup {
        recipe: setup::recipe(&run.config),
        eval_every: run.config.train.eval_every,
        checkpoint_every: run.config.train.checkpoint_every,
        config: String::new(),
        model: setup::model(&run.config, Some(&run.model), data.grammar())?,
        data,
        task: run.task.clone(),
        model_name: run.model.clone(),
        folder: PathBuf::new(),
    };
    let mut session = Session::new(&setup, device, None, None, &mut |_| {}, stop)?;
    let stepper = session.stepper();
    let batch = setup.recipe.batch;
    let samples = |step: u64| -> Batch { setup.data.batch(Split::Train, step * batch as u64, batch) };
    let go_on = || !stop.load(Ordering::Relaxed);
    let first = Instant::now();
    let mut whole = stepper.step_while(0, &samples(0), go_on)?;
    stepper.drain()?;
    let mut time = first.elapsed();
    if whole && time < ENOUGH {
        let prepared: Vec<Batch> = (1..=TIMED).map(samples).collect();
        let start = Instant::now();
        for (step, batch) in (1..).zip(&prepared) {
            whole = whole && stepper.step_while(step, batch, go_on)?;
        }
        stepper.drain()?;
        time = start.elapsed() / TIMED as u32;
    }
    let bytes = stepper.executor.runtime().total_bytes() as u64;
    Ok((
        Device::Used(Box::new(session.into_machine())),
        whole.then_some(time),
        bytes,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measured_shapes_spread_over_all() {
        assert!(spread(0).is_empty());
        assert_eq!(spread(1), [0]);
        assert_eq!(spread(5), [0, 4, 2, 1, 3]);
        let mut all = spread(17);
        all.sort_unstable();
        assert_eq!(all, (0..17).collect::<Vec<_>>());
    }

    #[test]
    fn times_follow_the_nearest_measured_one() {
        let known = [(1e9, Duration::from_secs(1)), (1e12, Duration::from_secs(100))];
        assert_eq!(scaled(2e9, &known), Duration::from_secs(2));
        assert_eq!(scaled(5e11, &known), Duration::from_secs(50));
    }

    #[test]
    fn seeds_make_no_shape() {
        assert_eq!(without_seed("a seed: 12, b seed: 3}"), "a , b }");
    }
}

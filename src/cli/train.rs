//! `selectiv train`: trains and tests one model on one task.

use super::common::{Common, Verbosity};
use super::inspect::{bytes, call_list, count, counted, plain_table, profile_table, time};
use super::number::{MOST, whole};
use super::print;
use super::progress::{Progress, Wait};
use super::signals::stop_flag;
use crate::bench::{Floor, Roof};
use crate::config::{Config, parse_override, task_name};
use crate::error::{Error, Result, UserError};
use crate::graph::Call;
use crate::memory;
use crate::models;
use crate::tasks::{Split, Splits, Statistics, loader};
use crate::train::Recorder;
use crate::train::claim::Claim;
use crate::train::folder::{self, Folder};
use crate::train::records::RunResult;
use crate::train::{Counting, Device, Executor, Row, Session, Setup, StepReport, Watch, run_result, setup};
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long `--dry-run` makes samples.
const RATED: Duration = Duration::from_secs(1);
/// Updates that `--dry-run` times.
const TIMED_STEPS: u64 = 3;
/// A run on the CPU that takes longer is told so before it begins.
const LONG: Duration = Duration::from_secs(3600);
/// FLOPs that no CPU takes so long for.
const SHORT_FLOPS: f64 = 1e12;

/// Arguments of `selectiv train`.
#[derive(Debug, Clone, Args)]
pub struct TrainArgs {
    /// Task file, the name of a built-in one, or a run's folder or config.toml, to repeat it
    #[arg(value_name = "TASK.toml")]
    pub task: PathBuf,
    /// Model; left out where model.layers lists blocks
    #[arg(long, value_name = "NAME", help = model_help())]
    pub model: Option<String>,
    /// Width [default: the task's; 256]
    #[arg(long, value_name = "W", allow_negative_numbers = true)]
    pub d_model: Option<String>,
    /// Number of layers [default: the task's; 8]
    #[arg(long, value_name = "L", allow_negative_numbers = true)]
    pub layers: Option<String>,
    /// Number of updates, and length of the schedule [default: the task's; data.train / batch]
    #[arg(long, allow_negative_numbers = true)]
    pub steps: Option<String>,
    /// Samples of an update [default: the task's; 64]
    #[arg(long, allow_negative_numbers = true)]
    pub batch: Option<String>,
    /// Peak learning rate, above 0 [default: the task's; 0.001]
    #[arg(long, allow_negative_numbers = true)]
    pub lr: Option<String>,
    /// Updates of warm-up [default: the task's, in proportion to --steps; 476, or half of a shorter run]
    #[arg(long, allow_negative_numbers = true)]
    pub warmup: Option<String>,
    /// Seed of grammar, data and weights [default: the task's; 1]
    #[arg(long, allow_negative_numbers = true)]
    pub seed: Option<String>,
    /// Any other field of the task file
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
    /// Folder of the run [default: runs/TASK-MODEL-SEED, and what is special about the model]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Continue the run in the folder
    #[arg(long)]
    pub resume: bool,
    /// Print parameters, bytes, micro-batch and estimated time (-v: every call, and the least time), and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print the share of time of each op before training
    #[arg(long)]
    pub profile: bool,
    /// Samples computed at a time; default: as many as fit
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..=MOST), allow_negative_numbers = true)]
    pub micro_batch: Option<usize>,
}

fn model_help() -> String {
    let names: Vec<&str> = models::BLOCKS.iter().map(|block| block.name()).collect();
    format!(
        "Model; left out where model.layers lists blocks: {}",
        names.join(", ")
    )
}

impl TrainArgs {
    /// The flags as fields of the task file. What a flag says wins over `--set`.
    fn overrides(&self) -> Result<Vec<(String, String)>> {
        let flags = [
            ("model.d_model", &self.d_model),
            ("model.layers", &self.layers),
            ("train.steps", &self.steps),
            ("train.batch", &self.batch),
            ("train.lr", &self.lr),
            ("train.warmup", &self.warmup),
            ("seed", &self.seed),
        ];
        overrides(&self.set, &flags)
    }
}

/// `--set` arguments, then flags, as fields of the task file.
pub(super) fn overrides(set: &[String], flags: &[(&str, &Option<String>)]) -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for argument in set {
        all.push(parse_override(argument)?);
    }
    let given = |(key, value): &(&str, &Option<String>)| Some(((*key).to_owned(), (*value).clone()?));
    all.extend(flags.iter().filter_map(given));
    Ok(all)
}

/// Trains, tests and prints the result.
///
/// # Errors
/// Every kind: see [`Error`]. Nothing has been written if it is a [`crate::error::UserError`].
pub fn run(args: &TrainArgs, common: &Common) -> Result<()> {
    let verbosity = common.verbosity();
    let mut say = |text: &str| verbosity.say(text);
    let (file, own_folder) = task_file(&args.task)?;
    let config = Config::load(&file, &args.overrides()?)?;
    config.notes.0.iter().for_each(|note| say(note));
    let data = Arc::new(setup::data_set(&config)?);
    let names = config.run.clone().unwrap_or_default();
    let model = args.model.as_deref().or(names.model.as_deref());
    let mut model = setup::model(&config, model, data.grammar())?;
    let name = model.name();
    let task = names.task.unwrap_or_else(|| task_name(&file));
    let out = args.out.clone().or(own_folder.filter(|_| args.resume));
    let out = out.unwrap_or_else(|| default_folder(&file, &task, &name, &config));
    let own = || args.resume.then(|| folder::precision(&out)).flatten();
    let asked = common.precision()?.or(names.precision).or_else(own);
    model.precision = asked.unwrap_or_default();
    model.validate()?;
    let kept = setup::kept(&config, [&task, &name], model.precision, &data);
    let mut run = Setup {
        recipe: setup::recipe(&config),
        eval_every: config.train.eval_every,
        checkpoint_every: config.train.checkpoint_every,
        config: kept.to_toml(""),
        model,
        data: Arc::clone(&data),
        task,
        model_name: name,
        folder: out,
    };
    let stop = stop_flag();
    // A dry run writes nothing, and a finished run is only read.
    let reads = args.dry_run || (args.resume && folder::is_finished(&run.folder));
    let take = || Claim::take(&run.folder, || stop.store(true, Ordering::SeqCst));
    let mut claim = (!reads).then(take).transpose()?;
    let folder = if args.dry_run {
        Folder::Fresh
    } else {
        folder::look(&run, args.resume, &config, &mut say)?
    };
    if claim.is_none() && !args.dry_run && !matches!(folder, Folder::Finished(_)) {
        // Its result is not whole: the test is made again.
        claim = Some(take()?);
    }
    let saved = match folder {
        Folder::Finished(result) => {
            say(&format!("{} is finished", run.folder.display()));
            return print_result(&result);
        }
        Folder::Fresh => None,
        Folder::Begun(saved) => saved.map(|saved| {
            run.config.clone_from(&saved.state.config);
            *saved
        }),
    };
    memory::ask(
        "the test samples of the data's statistics",
        run.data.statistics_bytes(),
    )?;
    let executor = common.open(&mut say)?;
    executor.check(run.model.precision)?;
    let mut session = Session::new(
        &run,
        Device::New(executor),
        args.micro_batch,
        saved,
        &mut say,
        stop,
    )?;
    if run.data.spec().splits == Splits::Reference {
        say("warning: with splits = \"reference\" the test samples are also training samples");
    }
    if run.data.spec().splits == Splits::Reference && config.train.seed == 0 {
        say(
            "warning: with seed 0 and splits = \"reference\" every sample is the same: the reference multiplies the seed",
        );
    }
    describe(&mut session, &run, verbosity);
    let Some(claim) = claim else {
        return dry_run(session, &run, args, verbosity, stop);
    };
    warn_of_hours(&mut session, &run, &mut say)?;
    let device = session.stepper().executor.name();
    claim.check()?;
    let on = session.stepper().runs_on();
    folder::create(&run.folder, &kept, data.grammar(), &on)?;
    if args.profile {
        say(&profile(&mut session, &run)?);
    }
    let used = config.train.samples_used();
    let mut live = Live {
        progress: Progress::new(verbosity, session.step(), run.recipe.schedule.steps),
        recorder: Recorder::open(claim, session.logged(), &mut say)?,
        statistics: Counting::new(data, used),
        told: false,
    };
    let params = session.stepper().train_net().0.graph.param_count();
    let outcome = session.run(&mut live);
    live.progress.finish();
    live.recorder.check()?;
    let outcome = outcome?;
    let counting = Wait::new(verbosity, "counting what the training samples say", "samples");
    let statistics = live.statistics.wait(stop, |statistics| {
        let (done, total) = statistics.progress();
        counting.at(done, total);
    });
    counting.finish();
    let statistics = statistics?;
    if !live.told {
        live.progress.reachable(&statistics);
    }
    let result = run_result(&run, &config, &outcome, &statistics, params, device);
    say(&table(&result, &statistics));
    if let Some(share) = outcome.counters.padded() {
        say(&format!(
            "{:.1} % of the computed steps were padding",
            100.0 * share
        ));
    }
    if let Some(scale) = outcome.counters.loss_scale {
        say(&format!(
            "{} of {} updates were left out because the loss scale was too large; it is {} now",
            scale.skipped, result.steps, scale.factor
        ));
    }
    live.recorder.finish(&result)?;
    print_result(&result)
}

/// Prints the result; one of a training that diverged is an error too.
fn print_result(result: &RunResult) -> Result<()> {
    print::result(&result.to_json())?;
    result.diverged().map_or(Ok(()), |e| Err(e.into()))
}

/// The task file that is meant, and the folder of the run that it belongs to if one was named.
fn task_file(given: &Path) -> Result<(PathBuf, Option<PathBuf>)> {
    if !given.is_dir() {
        return Ok((given.to_owned(), None));
    }
    let file = given.join(folder::CONFIG_FILE);
    if file.is_file() {
        return Ok((file, Some(given.to_owned())));
    }
    let (path, reason) = (
        given.to_owned(),
        "holds no run (there is no config.toml)".to_owned(),
    );
    Err(UserError::Folder { path, reason }.into())
}

/// Where a run goes that is not told: plain models by task, model and seed, others also by what is special about them.
fn default_folder(file: &Path, task: &str, model: &str, config: &Config) -> PathBuf {
    let plain = Config::load(file, &[]).map_or_else(|_| config.model.clone(), |plain| plain.model);
    let mut name = format!("{task}-{model}-{}", config.train.seed);
    let variant = setup::variant(config, &plain);
    if !variant.is_empty() {
        name += &format!("-{variant}");
    }
    Path::new("runs").join(name)
}

/// Says what is about to run.
fn describe(session: &mut Session<'_>, run: &Setup, verbosity: Verbosity) {
    let step = session.step();
    let stepper = session.stepper();
    let params = stepper.train_net().0.graph.param_count();
    let [t, _] = run.train_extents();
    let held = bytes(stepper.executor.runtime().total_bytes() as f64);
    verbosity.say(&format!(
        "{} on {} in {}: {params} parameters; {} of {} x {t} steps in micro-batches of {}; {held}; {} launches an update",
        run.model_name,
        run.task,
        run.model.precision,
        counted(run.recipe.schedule.steps, "update"),
        counted(run.recipe.batch, "sample"),
        stepper.micro_batch(),
        stepper.launches()
    ));
    if step > 0 {
        verbosity.say(&format!(
            "continuing after update {step} of {}",
            run.folder.display()
        ));
    }
}

/// Prints what a run would take. Updates a few times to say how long.
///
/// # Errors
/// [`Error::Stopped`] after what was found until then is printed.
fn dry_run(
    mut session: Session<'_>,
    run: &Setup,
    args: &TrainArgs,
    verbosity: Verbosity,
    stop: &AtomicBool,
) -> Result<()> {
    let stepper = session.stepper();
    let net = stepper.train_net().0;
    let banks: usize = net
        .graph
        .banks()
        .map(|bank| bank.bytes(net.graph.bank_len()))
        .sum();
    let params = net.graph.param_count();
    let calls = (verbosity == Verbosity::Verbose).then(|| call_list(&net.graph));
    let batch = run.recipe.batch;
    let wait = Wait::new(verbosity, "timing updates", "updates");
    let mut start = Instant::now();
    let mut timed = 0;
    let mut took = Duration::ZERO;
    let stopped = || stop.load(Ordering::Relaxed);
    for step in 0..=TIMED_STEPS {
        if step == 1 {
            // The first update also warms caches and clocks.
            stepper.drain()?;
            start = Instant::now();
        }
        let samples = run.data.batch(Split::Train, step * batch as u64, batch);
        if !stepper.step_while(step, &samples, || !stopped())? {
            break;
        }
        timed = step;
        took = start.elapsed();
        wait.at(step + 1, TIMED_STEPS + 1);
    }
    stepper.drain()?;
    wait.finish();
    if !stopped() {
        took = start.elapsed();
    }
    let update = (timed > 0).then(|| took / timed as u32);
    let steps = run.recipe.schedule.steps;
    let held = stepper.executor.runtime().total_bytes();
    let mut table = plain_table(&["", ""], 1);
    table.add_row(["parameters".to_owned(), params.to_string()]);
    table.add_row(["bytes held".to_owned(), bytes(held as f64)]);
    table.add_row([
        "of these, parameters and optimiser".to_owned(),
        bytes(banks as f64),
    ]);
    table.add_row(["samples of an update".to_owned(), batch.to_string()]);
    table.add_row(["of a micro-batch".to_owned(), stepper.micro_batch().to_string()]);
    table.add_row(["launches of an update".to_owned(), stepper.launches().to_string()]);
    if let Some(update) = update {
        table.add_row(["time of an update".to_owned(), time(update)]);
        let threads = rayon::current_num_threads();
        let made = loader::rate(&run.data, batch, threads, RATED);
        table.add_row([
            format!("samples made a second, {}", counted(threads, "thread")),
            format!("{made:.0}"),
        ]);
        table.add_row([
            "samples used a second".to_owned(),
            format!("{:.1}", batch as f64 / update.as_secs_f64()),
        ]);
        let total = update.mul_f64(steps as f64);
        let all = match steps {
            1 => "time of the whole run".to_owned(),
            _ => format!("time of all {steps} updates"),
        };
        table.add_row([all, time(total)]);
    }
    let shares = (args.profile && !stopped())
        .then(|| profile(&mut session, run))
        .transpose()?;
    if let Some(update) = update.filter(|_| calls.is_some() && !stopped()) {
        verbosity.say("measuring what the device does at best");
        let stepper = session.stepper();
        // Nothing else is wanted of the model; the measurement takes its place.
        stepper.executor.runtime().reset();
        let roof = Roof::measure(&mut stepper.executor, run.model.precision)?;
        let floor = Floor::of(stepper, batch, &roof)?;
        let reached = 100.0 * floor.time.as_secs_f64() / update.as_secs_f64();
        for (what, value) in [
            ("bytes that an update must move", bytes(floor.cost.bytes)),
            ("FLOPs of an update", count(floor.cost.flops)),
            (
                "least time of an update, by this device's rates",
                time(floor.time),
            ),
            ("share of that in its time", format!("{reached:.1} %")),
        ] {
            table.add_row([what.to_owned(), value]);
        }
    }
    let mut text = table.trim_fmt().trim_start_matches('\n').to_owned();
    if let Some(calls) = calls {
        text = format!("{calls}\n\n{text}");
    }
    if let Some(shares) = shares {
        text = format!("{text}\n\n{shares}");
    }
    print::result(&text)?;
    match stopped() {
        true => Err(Error::Stopped("the dry run")),
        false => Ok(()),
    }
}

/// Says before a run begins if it would take hours on the CPU. One that cannot is not timed for it.
fn warn_of_hours(session: &mut Session<'_>, run: &Setup, say: &mut dyn FnMut(&str)) -> Result<()> {
    let left = run.recipe.schedule.steps.saturating_sub(session.step()) as f64;
    let (step, batch) = (session.step(), run.recipe.batch);
    let stepper = session.stepper();
    let parts = (batch / stepper.micro_batch()) as f64;
    let graph = &stepper.train_net().0.graph;
    let flops = |call: &Call| call.op.cost(call.pass, graph.precision()).flops;
    let all_flops = parts * left * graph.calls().iter().map(flops).sum::<f64>();
    if !matches!(stepper.executor, Executor::Cpu(_)) || all_flops < SHORT_FLOPS {
        return Ok(());
    }
    let samples = run.data.batch(Split::Train, step * batch as u64, batch);
    let part: Duration = stepper
        .profile(step, &samples)?
        .iter()
        .map(|call| call.time)
        .sum();
    let update = part.mul_f64(parts);
    let all = update.mul_f64(left);
    if all > LONG {
        say(&format!(
            "warning: this takes about {} on the CPU, {} an update; `selectiv devices` lists what else there is",
            time(all),
            time(update)
        ));
    }
    Ok(())
}

fn profile(session: &mut Session<'_>, run: &Setup) -> Result<String> {
    let step = session.step();
    let batch = run.recipe.batch;
    let samples = run.data.batch(Split::Train, step * batch as u64, batch);
    Ok(profile_table(&session.stepper().profile(step, &samples)?))
}

/// Everything that hears of the run while it goes on.
struct Live {
    progress: Progress,
    recorder: Recorder,
    statistics: Counting,
    /// Whether what can be reached was said.
    told: bool,
}

impl Watch for Live {
    fn updated(&mut self, report: &StepReport, tokens_per_s: f64) {
        self.progress.updated(report, tokens_per_s);
        if let Some(found) = self.statistics.look() {
            self.progress.reachable(found);
            self.told = true;
        }
    }

    fn logged(&mut self, row: &Row) -> Result<()> {
        if let Some(score) = &row.evaluation {
            self.progress.evaluated(row, score);
        }
        self.recorder.row(row)
    }

    fn saving(&mut self) -> Result<()> {
        self.recorder.sync()
    }
}

/// The model's accuracy among what others reach.
fn table(result: &RunResult, statistics: &Statistics) -> String {
    let mut table = plain_table(&["on the test samples", "accuracy"], 1);
    let rows = [
        ("chance", statistics.chance),
        ("always the same class", statistics.constant),
        ("unigram predictor", statistics.n1),
        ("bigram predictor", statistics.n2),
        ("this model", result.accuracy),
        ("ideal observer", statistics.ceiling),
    ];
    for (name, accuracy) in rows {
        table.add_row([name.to_owned(), format!("{:.2} %", 100.0 * accuracy)]);
    }
    format!(
        "{}\n{}\nloss {:.4}",
        table.trim_fmt(),
        result.model_text(),
        result.loss
    )
}

//! `selectiv sweep`: a grid of runs; what came out of it; the same as job arrays of SLURM.

mod display;
mod text;

use super::common::{Common, Verbosity};
use super::inspect::{bytes, counted, plain_table, time};
use super::number::{MOST, fraction, whole};
use super::print;
use super::signals::{stop_before_time_is_up, stop_flag, time_is_up};
use crate::error::{Error, Result, UserError};
use crate::sweep::slurm::{self, Settings};
use crate::sweep::tables::{PATIENCE, Tables};
use crate::sweep::{self, Options, Plan, Summary, Totals, WorkerTime};
use crate::train::claim::Claim;
use crate::train::{Executor, device_names};
use clap::Args;
use display::Display;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// Exit code of work that goes on in the next job of a batch system.
const TIME_IS_UP: i32 = 75;

/// Arguments of `selectiv sweep`.
#[derive(Debug, Clone, Args)]
pub struct SweepArgs {
    /// Sweep file; or the folder of a sweep, to go on with it
    #[arg(value_name = "SWEEP.toml|DIR")]
    pub sweep: PathBuf,
    /// Folder of the sweep
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print runs, hours (from updates measured here) and bytes, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print means over seeds with their intervals, and models compared seed by seed, and write the tables; run nothing
    #[arg(long)]
    pub table: bool,
    /// The same as JSON, with accuracies by place in the string, symbol, distance and gap
    #[arg(long)]
    pub json: bool,
    /// Count updates to this validation accuracy, not to 90 % of the ceiling
    #[arg(long, value_name = "FRACTION", value_parser = fraction, allow_negative_numbers = true)]
    pub steps_to: Option<f64>,
    /// These runs alone (and those that train with them)
    #[arg(long, value_name = "RUN_ID")]
    pub only: Vec<String>,
    /// Leave runs that other processes have begun to them, and do not wait for their results
    #[arg(long)]
    pub no_wait: bool,
    /// Write a job array script for what is missing, and run nothing
    #[arg(long)]
    pub slurm: bool,
    /// Write it and hand it to SLURM
    #[arg(long)]
    pub submit: bool,
    /// Read the folder and hand what is missing to SLURM again
    #[arg(long)]
    pub resubmit: bool,
    /// Elements of a job array that run at a time
    #[arg(long, value_name = "M", default_value_t = 8, value_parser = whole::<usize>(1..=MOST), allow_negative_numbers = true)]
    pub slurm_at_once: usize,
    /// Time limit of an element; runs go on in the next one
    #[arg(long, value_name = "TIME", default_value = "04:00:00")]
    pub slurm_time: String,
    /// A further option of sbatch, such as --slurm-option=--gres=gpu:1
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    pub slurm_option: Vec<String>,
}

/// Runs what is missing of a sweep, or says what is there. The exit code: 1 if a run failed or diverged.
///
/// # Errors
/// [`UserError`] for a sweep file or folder that is not as it must be: nothing has been written then; else as
/// [`sweep::run`].
pub fn run(args: &SweepArgs, common: &Common) -> Result<i32> {
    let verbosity = common.verbosity();
    let from_folder = args.sweep.is_dir();
    let plan = if from_folder {
        Plan::from_folder(&args.sweep)?
    } else {
        Plan::from_file(&args.sweep)?
    };
    let folder = folder(args, from_folder)?;
    if let (Some(folder), false) = (&folder, from_folder) {
        plan.check_folder(folder)?;
    }
    check_only(&plan, &args.only)?;
    if args.dry_run {
        return dry_run(&plan, folder.as_deref(), common, verbosity);
    }
    let Some(folder) = folder else {
        return Err(value("--out", "nothing", "the folder of the sweep").into());
    };
    if args.table {
        Tables::new(&plan, &folder).write_all()?;
    }
    if args.table || args.json {
        let summary = Summary::read(&plan, &folder, args.steps_to);
        print::result(&if args.json {
            serde_json::to_string_pretty(&summary).expect("names and numbers have a JSON form")
        } else {
            text::summary(&summary, verbosity)
        })?;
        return Ok(0);
    }
    common.only_f32("a sweep trains in f32")?;
    if args.slurm || args.submit || args.resubmit {
        write_plan(&plan, &folder)?;
        return arrays(args, common, &plan, &folder);
    }
    let devices = device_names(&common.device)?;
    write_plan(&plan, &folder)?;
    say_widths(&plan, verbosity);
    let stop = stop_flag();
    stop_before_time_is_up();
    let options = Options {
        devices,
        only: args.only.clone(),
        wait: args.only.is_empty() && !args.no_wait,
        stop,
    };
    let display = Display::new(&plan, &folder, verbosity, options.devices.len());
    let ended = sweep::run(&plan, &folder, &options, &display);
    display.finish();
    say_workers(&ended.workers, verbosity);
    let totals = match ended.outcome {
        Err(Error::Interrupted) if time_is_up() => {
            verbosity.say("stopped before its time is up; to be queued again");
            return Ok(TIME_IS_UP);
        }
        Err(Error::Interrupted) => return Err(Error::SweepInterrupted { folder }),
        totals => totals?,
    };
    say_totals(&totals, &folder, verbosity);
    if args.only.is_empty() {
        print::result(&text::summary(
            &Summary::read(&plan, &folder, args.steps_to),
            verbosity,
        ))?;
    }
    Ok(i32::from(totals.failed + totals.diverged > 0))
}

fn value(field: &str, found: &str, allowed: &str) -> UserError {
    UserError::Value {
        place: "command line".to_owned(),
        field: field.to_owned(),
        found: found.to_owned(),
        allowed: allowed.to_owned(),
    }
}

/// The sweep's folder; none for the dry run of a file.
fn folder(args: &SweepArgs, from_folder: bool) -> Result<Option<PathBuf>> {
    match (&args.out, from_folder) {
        (Some(out), true) => {
            let found = out.display().to_string();
            Err(value(
                "--out",
                &found,
                "left out: a sweep's folder is gone on with where it is",
            )
            .into())
        }
        (None, true) => Ok(Some(args.sweep.clone())),
        (out, false) => Ok(out.clone()),
    }
}

fn check_only(plan: &Plan, only: &[String]) -> Result<()> {
    match only.iter().find(|id| !plan.runs.iter().any(|run| run.id == **id)) {
        Some(id) => {
            let example = plan.runs.first().map_or("", |run| run.id.as_str());
            Err(value(
                "--only",
                id,
                &format!("names of runs of this sweep, such as {example}"),
            )
            .into())
        }
        None => Ok(()),
    }
}

/// Writes the plan where it is not what lies there, under the sweep's claim.
fn write_plan(plan: &Plan, folder: &Path) -> Result<()> {
    if folder.exists() && Plan::from_folder(folder).is_ok_and(|known| known == *plan) {
        return Ok(());
    }
    let claim = Claim::wait_for(folder, PATIENCE)?;
    // Another process may have come first.
    plan.check_folder(folder)?;
    plan.write(folder)?;
    drop(claim);
    Ok(())
}

fn dry_run(plan: &Plan, folder: Option<&Path>, common: &Common, verbosity: Verbosity) -> Result<i32> {
    let mut say = |text: &str| verbosity.say(text);
    say_widths(plan, verbosity);
    common.only_f32("a sweep trains in f32")?;
    let devices = device_names(&common.device)?;
    let stop = stop_flag();
    let device = Executor::open(&devices[0], &mut say)?;
    let folder = folder.filter(|folder| folder.exists());
    let found = sweep::estimate(plan, folder, device, &mut say, stop)?;
    let mut table = plain_table(&["a sweep", ""], 1);
    let [measured, shapes] = found.measured;
    let parallel = found.time.map(|all| all / devices.len().max(1) as u32);
    let unknown = || "not known: nothing was timed".to_owned();
    let rows = [
        ("runs", found.runs.to_string()),
        ("missing", found.missing.to_string()),
        ("trainings that these take", found.trainings.to_string()),
        ("shapes timed here, of all", format!("{measured} of {shapes}")),
        (
            "time of their updates, one device",
            found.time.map_or_else(unknown, time),
        ),
        (
            "on the devices of this machine",
            parallel.map_or_else(unknown, |all| format!("{} ({})", time(all), devices.len())),
        ),
        (
            "hours",
            parallel.map_or_else(unknown, |all| format!("{:.2}", all.as_secs_f64() / 3600.0)),
        ),
        ("bytes on the disk, when done", bytes(found.disk_bytes as f64)),
        (
            "checkpoints of a run that goes on",
            bytes(found.working_bytes as f64),
        ),
        (
            "most held on the device",
            found.device_bytes.map_or_else(unknown, |held| bytes(held as f64)),
        ),
    ];
    for (name, text) in rows {
        table.add_row([name.to_owned(), text]);
    }
    print::result(table.trim_fmt().trim_start())?;
    match stop.load(Ordering::Relaxed) {
        true => Err(Error::Stopped("the dry run")),
        false => Ok(0),
    }
}

/// Which width each model got, where a budget chose it.
fn say_widths(plan: &Plan, verbosity: Verbosity) {
    let mut said: Vec<String> = Vec::new();
    for run in plan.runs.iter().filter(|run| run.matched) {
        let line = format!(
            "{} on {}: width {}, {} parameters, {} bytes of state",
            run.model, run.task, run.config.model.sizes.d_model, run.params, run.state_bytes
        );
        if !said.contains(&line) {
            verbosity.say(&line);
            said.push(line);
        }
    }
}

fn say_workers(workers: &[WorkerTime], verbosity: Verbosity) {
    for worker in workers {
        verbosity.say(&format!(
            "{}: {} of work, idle {:.1} % of it between updates and tests",
            worker.device,
            time(worker.total),
            100.0 * worker.idle_share()
        ));
    }
}

fn say_totals(totals: &Totals, folder: &Path, verbosity: Verbosity) {
    let Totals {
        done,
        failed,
        diverged,
        missing,
    } = totals;
    let mut text = format!("{} done", counted(*done, "run"));
    for (count, what) in [(failed, "failed"), (diverged, "diverged"), (missing, "missing")] {
        if *count > 0 {
            text = format!("{text}, {count} {what}");
        }
    }
    verbosity.say(&format!("{text}; tables in {}", folder.display()));
}

fn arrays(args: &SweepArgs, common: &Common, plan: &Plan, folder: &Path) -> Result<i32> {
    let mut flags = vec!["--device".to_owned(), common.device.clone()];
    flags.extend(["--precision".to_owned(), common.precision.clone()]);
    let settings = Settings {
        at_once: args.slurm_at_once,
        time: args.slurm_time.clone(),
        options: args.slurm_option.clone(),
        flags,
    };
    let scripts = slurm::write(plan, folder, &settings)?;
    if scripts.is_empty() {
        common.verbosity().say("nothing is missing");
    }
    for script in scripts {
        if args.submit || args.resubmit {
            print::result(&slurm::submit(&script)?)?;
        } else {
            print::result(&script.display().to_string())?;
        }
    }
    Ok(0)
}

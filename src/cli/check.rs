//! `selectiv check`: proof on the user's own device.

use super::common::Common;
use super::inspect::{keep_words, ruled_table};
use super::print;
use super::progress::Wait;
use super::signals::stop_flag;
use crate::bench::DeviceClass;
use crate::cases::Case;
use crate::check::{
    Hear, Outcome, Precision, Report, Source, cases, golden, grammars, kernels, listed, trained, training,
};
use crate::cpu::CpuRuntime;
use crate::error::{Error, Result, UserError};
use crate::runtime::Runtime;
use crate::tensor::Precision as Storage;
use crate::train::Executor;
use clap::Args;
use comfy_table::Table;
use std::collections::BTreeMap;
#[cfg(feature = "gpu")]
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// Arguments of `check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// Golden files: a folder with `ops`, `models` and `grammars`, each with an index.json (default: the built-in ones)
    #[arg(long, value_name = "DIR")]
    pub fixtures: Option<PathBuf>,
    /// Leave out the kernels at hostile shapes and the first updates of every model, both against f64
    #[arg(long)]
    pub fixtures_only: bool,
    /// Print one JSON object instead of tables
    #[arg(long)]
    pub json: bool,
}

/// Whether all checks passed.
///
/// # Errors
/// [`UserError`] for golden files that cannot be read or a device that is not there; the device's.
pub fn run(args: &CheckArgs, common: &Common) -> Result<bool> {
    let source = match &args.fixtures {
        None => Source::BuiltIn,
        Some(dir) if dir.is_dir() => Source::Folder(dir.clone()),
        Some(dir) => {
            let reason = "is no folder; golden files lie in DIR/ops, DIR/models and DIR/grammars".to_owned();
            return Err(UserError::Folder {
                path: dir.clone(),
                reason,
            }
            .into());
        }
    };
    let indices = ["ops", "models", "grammars"].map(|part| format!("{part}/index.json"));
    if let Source::Folder(dir) = &source
        && !indices.iter().any(|index| source.has(index))
    {
        let reason = format!("holds no golden files: none of {}", indices.join(", "));
        let path = dir.clone();
        return Err(UserError::Folder { path, reason }.into());
    }
    let verbosity = common.verbosity();
    let stop = stop_flag();
    let mut executor = Executor::open(&common.device, &mut |text| verbosity.say(text))?;
    let mut storage = common.precision()?.unwrap_or_default();
    if let Err(refusal) = executor.check(storage) {
        verbosity.say(&format!("checking in f32: {refusal}"));
        storage = Storage::F32;
    }
    let wait = Wait::new(verbosity, "checking", "checks");
    let mut found: [Vec<Outcome>; 3] = Default::default();
    let ended = all_parts(
        &source,
        &mut executor,
        storage,
        !args.fixtures_only,
        &wait,
        &mut |part, outcome| {
            if part != Part::Kernels || !outcome.passed() {
                wait.say(&line(&outcome));
            }
            found[part as usize].push(outcome);
            // What was asked to stop still says what it has found.
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Stopped("the check"));
            }
            Ok(())
        },
    );
    wait.finish();
    let stopped = match ended {
        Ok(()) => None,
        Err(e @ Error::Stopped(_)) => Some(e),
        Err(e) => return Err(e),
    };
    let report = Report::new(
        &found.concat(),
        executor.name(),
        executor.driver(),
        self_tests(&executor),
    );
    let Report {
        passed,
        failed,
        skipped,
        ..
    } = report;
    if args.json {
        print::result(&serde_json::to_string(&report).expect("names and numbers have a JSON form"))?;
    } else {
        let [goldens, kernels, updates] = &found;
        let tables = tables(&[
            ("golden files", goldens),
            ("kernels against the f64 twin", kernels),
            ("first 20 updates against the f64 executor", updates),
        ]);
        print::result(&format!(
            "{tables}{passed} passed, {failed} failed, {skipped} skipped"
        ))?;
    }
    if let Some(stopped) = stopped {
        return Err(stopped);
    }
    if passed + failed == 0 {
        verbosity.say("nothing was checked: every entry was skipped");
    }
    Ok(failed == 0 && passed > 0)
}

/// What is checked, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Golden files, with f64 and on the device.
    Goldens,
    /// Every op's cases.
    Kernels,
    /// The first updates of every model.
    Updates,
}

/// Runs everything, and shows how far it is.
fn all_parts(
    source: &Source,
    executor: &mut Executor,
    storage: Storage,
    with_kernels: bool,
    wait: &Wait,
    hear: &mut dyn FnMut(Part, Outcome) -> Result<()>,
) -> Result<()> {
    let [on_devices, grammar_files] = listed(source)?;
    let (taken, updates) = match with_kernels {
        true => (variants(executor, storage)?, trained()),
        false => (Taken::new(), 0),
    };
    let kernels: usize = taken.iter().map(|(_, cases)| cases.len()).sum();
    let all = 2 * on_devices + grammar_files + kernels + updates;
    let mut done = 0;
    let mut report = |part, outcome| {
        done += 1;
        wait.at(done, all as u64);
        hear(part, outcome)
    };
    let goldens_of = &mut |o| report(Part::Goldens, o);
    goldens(source, &mut CpuRuntime::<f64>::new(), Precision::F64, goldens_of)?;
    goldens(source, executor.runtime(), storage.into(), goldens_of)?;
    if source.has("grammars/index.json") {
        grammars(source, goldens_of)?;
    }
    if with_kernels {
        each_variant(executor, storage, &taken, &mut |o| report(Part::Kernels, o))?;
        training(executor.runtime(), storage, &mut |o| report(Part::Updates, o))?;
    }
    Ok(())
}

fn goldens(
    source: &Source,
    runtime: &mut dyn Runtime,
    precision: Precision,
    report: &mut Hear<'_>,
) -> Result<()> {
    if source.has("ops/index.json") {
        golden::ops(source, runtime, precision, report)?;
    }
    if source.has("models/index.json") {
        golden::models(source, runtime, precision, report)?;
    }
    Ok(())
}

/// Cases with the variant that takes them; on the CPU all with the twins.
type Taken = Vec<(Option<&'static str>, Vec<Case>)>;

/// What is run of the kernels: every variant that the device runs, by name, on all cases that it takes; without the long ones
/// where a driver computes on the CPU.
fn variants(
    executor: &mut Executor,
    #[cfg_attr(
        not(feature = "gpu"),
        allow(unused_variables, reason = "variants are the GPU's")
    )]
    storage: Storage,
) -> Result<Taken> {
    let all = cases(DeviceClass::of(executor) != DeviceClass::SoftwareGpu);
    match executor {
        Executor::Cpu(_) => Ok(vec![(None, all)]),
        #[cfg(feature = "gpu")]
        Executor::Gpu(runtime) => {
            let names = all.iter().flat_map(|case| case.op.variants());
            let names: BTreeSet<&'static str> = names.map(|variant| variant.name).collect();
            let mut by_name = Taken::new();
            for name in names {
                runtime.force(Some(name));
                let mut taken = Vec::new();
                for case in &all {
                    if runtime.runs(&case.graph(storage)?, name) {
                        taken.push(case.clone());
                    }
                }
                by_name.push((Some(name), taken));
            }
            runtime.force(None);
            Ok(by_name)
        }
    }
}

/// Runs them. What failed its self-test is not run, and skipped.
fn each_variant(executor: &mut Executor, storage: Storage, all: &Taken, report: &mut Hear<'_>) -> Result<()> {
    match executor {
        Executor::Cpu(runtime) => {
            for (_, cases) in all {
                kernels(cases, runtime, storage, None, report)?;
            }
        }
        #[cfg(feature = "gpu")]
        Executor::Gpu(runtime) => {
            for (proof, why) in runtime.gpu().choice().failures() {
                report(Outcome::skipped(proof, &runtime.device(), why))?;
            }
            for (name, cases) in all {
                runtime.force(*name);
                kernels(cases, &mut **runtime, storage, *name, report)?;
            }
            runtime.force(None);
        }
    }
    Ok(())
}

/// What a device's self-tests found, by variant; empty on the CPU.
fn self_tests(executor: &Executor) -> BTreeMap<String, String> {
    match executor {
        Executor::Cpu(_) => BTreeMap::new(),
        #[cfg(feature = "gpu")]
        Executor::Gpu(runtime) => {
            let text = |verdict: &crate::variant::Verdict| match verdict {
                Ok(()) => "passed".to_owned(),
                Err(why) => format!("failed: {why}"),
            };
            let verdicts = runtime.gpu().choice().verdicts.into_iter().flatten();
            verdicts.map(|(proof, verdict)| (proof, text(&verdict))).collect()
        }
    }
}

/// One outcome in words.
fn line(outcome: &Outcome) -> String {
    let Outcome { name, .. } = outcome;
    let device = place(outcome);
    match (&outcome.result, outcome.worst()) {
        (Err(reason), _) => format!("skipped  {name} on {device}: {reason}"),
        (Ok(_), Some(d)) if !outcome.passed() => format!(
            "FAILED   {name} on {device}: {} error {:.2e}, allowed {:.0e}; element {} is {:e}, should be {:e}",
            d.tensor, d.error, d.allowed, d.worst.0, d.worst.1, d.worst.2
        ),
        (Ok(_), Some(d)) => format!(
            "passed   {name} on {device}: {} error {:.1e}, allowed {:.0e}",
            d.tensor, d.error, d.allowed
        ),
        (Ok(_), None) => format!("passed   {name} on {device}"),
    }
}

/// Device and variant of an outcome.
fn place(outcome: &Outcome) -> String {
    match &outcome.variant {
        None => outcome.device.clone(),
        Some(variant) => format!("{}, {variant}", outcome.device),
    }
}

fn tables(parts: &[(&str, &Vec<Outcome>)]) -> String {
    let mut text = String::new();
    for (title, outcomes) in parts.iter().filter(|(_, outcomes)| !outcomes.is_empty()) {
        text += &format!(
            "{title}: checks, and the error closest to its limit, of that limit\n{}\n\n",
            matrix(outcomes)
        );
    }
    let all = parts.iter().flat_map(|(_, outcomes)| outcomes.iter());
    for outcome in all.filter(|o| !o.passed()) {
        text += &line(outcome);
        text.push('\n');
    }
    text
}

/// A cell of the matrix.
struct Cell {
    checks: usize,
    failed: usize,
    /// The error that comes closest to (or passes) what is allowed for its tensor.
    error: f64,
    allowed: f64,
}

impl Default for Cell {
    fn default() -> Self {
        Self {
            checks: 0,
            failed: 0,
            error: 0.0,
            allowed: 1.0,
        }
    }
}

/// First word of the name by device or variant: how many checks, and the error closest to its limit.
fn matrix(outcomes: &[Outcome]) -> Table {
    let mut columns: Vec<&str> = Vec::new();
    let mut cells: BTreeMap<&str, BTreeMap<&str, Cell>> = BTreeMap::new();
    for o in outcomes.iter().filter(|o| o.result.is_ok()) {
        let column = o.variant.as_ref().unwrap_or(&o.device).as_str();
        if !columns.contains(&column) {
            columns.push(column);
        }
        let row = o.name.strip_prefix("model ").unwrap_or(&o.name);
        let row = row.split(' ').next().unwrap_or(row);
        let cell = cells.entry(row).or_default().entry(column).or_default();
        cell.checks += 1;
        cell.failed += usize::from(!o.passed());
        if let Some(d) = o.worst()
            && d.error / d.allowed >= cell.error / cell.allowed
        {
            (cell.error, cell.allowed) = (d.error, d.allowed);
        }
    }
    let mut table = ruled_table(false);
    table.set_header(std::iter::once("").chain(columns.iter().copied()));
    for (row, by_column) in &cells {
        let text = |column: &&str| match by_column.get(column) {
            None => String::new(),
            Some(Cell {
                checks,
                failed: 0,
                error,
                allowed,
            }) => format!("{checks}  {error:.1e} of {allowed:.0e}"),
            Some(Cell {
                checks,
                failed,
                error,
                allowed,
            }) => format!("{failed} of {checks} FAILED  {error:.1e} of {allowed:.0e}"),
        };
        table.add_row(std::iter::once((*row).to_owned()).chain(columns.iter().map(text)));
    }
    keep_words(&mut table);
    table
}

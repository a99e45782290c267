//! `selectiv check`: proof on the user's own device.

use super::common::Common;
use super::inspect::ruled_table;
use super::print;
use crate::bench::DeviceClass;
use crate::check::{Outcome, Precision, Source, golden, grammars, kernels, training};
use crate::cpu::CpuRuntime;
use crate::error::{Result, UserError};
use crate::runtime::Runtime;
use crate::train::Executor;
use clap::Args;
use comfy_table::Table;
use std::collections::BTreeMap;
use std::path::PathBuf;

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
    let mut executor = common.open(&mut |text| verbosity.say(text))?;
    let mut all = Vec::new();
    let mut report = |outcome: Outcome| {
        verbosity.say(&line(&outcome));
        all.push(outcome);
    };
    goldens(
        &source,
        &mut CpuRuntime::<f64>::new(),
        Precision::F64,
        &mut report,
    )?;
    goldens(&source, executor.runtime(), Precision::F32, &mut report)?;
    if source.has("grammars/index.json") {
        grammars(&source, &mut report)?;
    }
    let goldens_end = all.len();
    let mut kernels_end = goldens_end;
    if !args.fixtures_only {
        let mut report = |outcome: Outcome| {
            if !outcome.passed() {
                verbosity.say(&line(&outcome));
            }
            all.push(outcome);
        };
        variants(&mut executor, &mut report)?;
        kernels_end = all.len();
        training(executor.runtime(), &mut |outcome| {
            verbosity.say(&line(&outcome));
            all.push(outcome);
        })?;
    }
    let passed = all.iter().filter(|o| o.passed()).count();
    let skipped = all.iter().filter(|o| o.result.is_err()).count();
    let failed = all.len() - passed - skipped;
    if args.json {
        print::result(&json(&all, passed, failed, skipped).to_string())?;
    } else {
        let tables = tables(&[
            ("golden files", &all[..goldens_end]),
            ("kernels against the f64 twin", &all[goldens_end..kernels_end]),
            ("first 20 updates against the f64 executor", &all[kernels_end..]),
        ]);
        print::result(&format!(
            "{tables}{passed} passed, {failed} failed, {skipped} skipped"
        ))?;
    }
    Ok(failed == 0)
}

fn goldens(
    source: &Source,
    runtime: &mut dyn Runtime,
    precision: Precision,
    report: &mut dyn FnMut(Outcome),
) -> Result<()> {
    if source.has("ops/index.json") {
        golden::ops(source, runtime, precision, report)?;
    }
    if source.has("models/index.json") {
        golden::models(source, runtime, precision, report)?;
    }
    Ok(())
}

/// Every variant that the device offers, on all cases; without the long ones where a driver computes on the CPU.
fn variants(executor: &mut Executor, report: &mut dyn FnMut(Outcome)) -> Result<()> {
    let long = DeviceClass::of(executor) != DeviceClass::SoftwareGpu;
    match executor {
        Executor::Cpu(runtime) => kernels(runtime, "CPU f32", long, report),
        #[cfg(feature = "gpu")]
        Executor::Gpu(runtime) => {
            use crate::gpu::{GpuRuntime, Options};
            if runtime.gpu().caps().coop {
                let plain = runtime.gpu().reopen(Options {
                    coop: false,
                    ..Options::default()
                })?;
                kernels(&mut GpuRuntime::new(plain), "plain f32", long, report)?;
                return kernels(&mut **runtime, "cooperative matrices", long, report);
            }
            kernels(&mut **runtime, "plain f32", long, report)
        }
    }
}

/// One outcome in words.
fn line(outcome: &Outcome) -> String {
    let Outcome { name, device, .. } = outcome;
    match (&outcome.result, outcome.worst()) {
        (Err(reason), _) => format!("skipped  {name} on {device}: {reason}"),
        (Ok(_), Some(d)) if !outcome.passed() => format!(
            "FAILED   {name} on {device}: {} error {:.2e}, allowed {:.0e}; element {} is {:e}, should be {:e}",
            d.tensor, d.error, d.allowed, d.worst.0, d.worst.1, d.worst.2
        ),
        (Ok(_), Some(d)) => format!("passed   {name} on {device}: {:.1e} ({})", d.error, d.tensor),
        (Ok(_), None) => format!("passed   {name} on {device}"),
    }
}

fn tables(parts: &[(&str, &[Outcome])]) -> String {
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

/// First word of the name by device: how many checks, and the error closest to its limit.
fn matrix(outcomes: &[Outcome]) -> Table {
    let mut devices: Vec<&str> = Vec::new();
    let mut cells: BTreeMap<&str, BTreeMap<&str, Cell>> = BTreeMap::new();
    for o in outcomes.iter().filter(|o| o.result.is_ok()) {
        if !devices.contains(&o.device.as_str()) {
            devices.push(&o.device);
        }
        let row = o.name.strip_prefix("model ").unwrap_or(&o.name);
        let row = row.split(' ').next().unwrap_or(row);
        let cell = cells.entry(row).or_default().entry(&o.device).or_default();
        cell.checks += 1;
        cell.failed += usize::from(!o.passed());
        if let Some(d) = o.worst()
            && d.error / d.allowed >= cell.error / cell.allowed
        {
            (cell.error, cell.allowed) = (d.error, d.allowed);
        }
    }
    let mut table = ruled_table(false);
    table.set_header(std::iter::once("").chain(devices.iter().copied()));
    for (row, by_device) in &cells {
        let text = |device: &&str| match by_device.get(device) {
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
        table.add_row(std::iter::once((*row).to_owned()).chain(devices.iter().map(text)));
    }
    table
}

fn json(all: &[Outcome], passed: usize, failed: usize, skipped: usize) -> serde_json::Value {
    let checks: Vec<serde_json::Value> = all
        .iter()
        .map(|o| {
            let status = match &o.result {
                Err(_) => "skipped",
                Ok(_) if o.passed() => "passed",
                Ok(_) => "failed",
            };
            let mut check = serde_json::json!({ "name": o.name, "device": o.device, "status": status });
            match (&o.result, o.worst()) {
                (Err(reason), _) => check["reason"] = reason.as_str().into(),
                (_, Some(d)) => {
                    check["tensor"] = d.tensor.as_str().into();
                    check["error"] = d.error.into();
                    check["allowed"] = d.allowed.into();
                }
                _ => {}
            }
            check
        })
        .collect();
    let commit = env!("SELECTIV_COMMIT");
    serde_json::json!({ "commit": commit, "passed": passed, "failed": failed, "skipped": skipped, "checks": checks })
}

//! `selectiv bench`: times of kernels and whole steps against the device's own roof.

use super::common::{Common, Verbosity};
use super::inspect::{bytes, plain_table, profile_table};
use super::number::{MOST, whole};
use super::print;
use super::progress::Wait;
use super::signals::stop_flag;
use crate::bench::{
    Bench, Comparison, DeviceClass, Entry, Prepared, Report, Roof, Scale, StepShape, Timed, names, registry,
    suite, time_step,
};
use crate::config::{D_MODELS, D_STATES, LAYERS};
use crate::error::{Error, Result, UserError};
use crate::models;
use crate::tensor::Precision;
use crate::train::Executor;
use clap::Args;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// What `--quick` makes shapes smaller by, on top of what the device asks for.
const QUICK: usize = 16;

/// Arguments of `bench`. Without `--op`, `--model` and `--suite` every op is timed.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// Time one op at all its shapes
    #[arg(long, value_name = "NAME")]
    pub op: Option<String>,
    /// Time a whole training step of a model: forward, backward, clip, Adam
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Time a fixed suite: recurrence
    #[arg(long, value_name = "NAME")]
    pub suite: Option<String>,
    /// Width of the model (with --model; default: 1024 on a GPU, else 128)
    #[arg(long, value_name = "W", requires = "model", value_parser = whole::<u32>(D_MODELS), allow_negative_numbers = true)]
    pub d_model: Option<u32>,
    /// Layers of the model (with --model; default: 8 on a GPU, else 2)
    #[arg(long, value_name = "L", requires = "model", value_parser = whole::<u32>(LAYERS), allow_negative_numbers = true)]
    pub layers: Option<u32>,
    /// Sequences of a step (with --model; default: 64 on a GPU, else 8)
    #[arg(long, value_name = "B", requires = "model", value_parser = whole::<u32>(1..=MOST), allow_negative_numbers = true)]
    pub batch: Option<u32>,
    /// Time steps of a sequence (with --model; default: 400 on a GPU, else 100)
    #[arg(long, value_name = "T", requires = "model", value_parser = whole::<u32>(1..=16_777_216), allow_negative_numbers = true)]
    pub length: Option<u32>,
    /// States of a channel (Mamba, S4D) or of a head (Mamba2) (with --model; default: as published, 64; Mamba2 128)
    #[arg(long, value_name = "N", requires = "model", value_parser = whole::<u32>(D_STATES), allow_negative_numbers = true)]
    pub d_state: Option<u32>,
    /// Steps that a chunkwise kernel takes at once: 16, 32 or 64 (with --model; default: 64)
    #[arg(long, value_name = "C", requires = "model", value_parser = whole::<u32>(16..=64), allow_negative_numbers = true)]
    pub chunk: Option<u32>,
    /// Make the shapes of ops 16 times smaller
    #[arg(long)]
    pub quick: bool,
    /// Print one JSON object instead of tables
    #[arg(long)]
    pub json: bool,
    /// Run this variant of the ops' kernels where they have it, before what the device would take; else they are skipped
    #[arg(long, value_name = "NAME")]
    pub variant: Option<String>,
    /// Compare with an earlier output of --json
    #[arg(long, value_name = "FILE")]
    pub compare: Option<PathBuf>,
}

impl BenchArgs {
    /// The benches asked for.
    fn benches(&self, scale: Scale) -> Result<Vec<Bench>> {
        let mut benches = Vec::new();
        if let Some(name) = &self.suite {
            benches.extend(suite(name, scale).ok_or_else(|| unknown("suite", name, "recurrence"))?);
        }
        if let Some(name) = &self.op {
            let of_op: Vec<Bench> = registry(scale)
                .into_iter()
                .filter(|b| b.answers_to(name))
                .collect();
            if of_op.is_empty() {
                return Err(unknown("op", name, &names().join(", ")));
            }
            let is_new = |b: &Bench| benches.iter().all(|other: &Bench| other.name() != b.name());
            let new: Vec<Bench> = of_op.into_iter().filter(is_new).collect();
            benches.extend(new);
        }
        if self.suite.is_none() && self.op.is_none() && self.model.is_none() {
            benches = registry(scale);
        }
        Ok(benches)
    }

    /// The name of the variant asked for, if an op that is timed has it here.
    fn variant(&self, executor: &Executor, precision: Precision) -> Result<Option<&'static str>> {
        let Some(name) = &self.variant else {
            return Ok(None);
        };
        // A step of a model runs other ops too.
        let all = match self.model {
            None => self.benches(Scale(1))?,
            Some(_) => registry(Scale(1)),
        };
        let offered = all.iter().flat_map(|b| executor.offers(&b.op, precision));
        let offered: BTreeSet<&str> = offered.collect();
        let found = offered.get(name.as_str()).copied();
        found.map(Some).ok_or_else(|| {
            let names: Vec<&str> = offered.into_iter().collect();
            let allowed = match names.is_empty() {
                true => "none: the CPU has no variants".to_owned(),
                false => names.join(", "),
            };
            unknown("variant", name, &allowed)
        })
    }

    fn shape(&self, class: DeviceClass) -> StepShape {
        let default = StepShape::default_for(class);
        let pick = |given: Option<u32>, default: usize| given.map_or(default, |n| n as usize);
        StepShape {
            d_model: pick(self.d_model, default.d_model),
            layers: pick(self.layers, default.layers),
            batch: pick(self.batch, default.batch),
            length: pick(self.length, default.length),
            d_state: self.d_state.map(|n| n as usize),
            chunk: self.chunk.map(|n| n as usize),
        }
    }
}

fn unknown(what: &'static str, name: &str, allowed: &str) -> Error {
    let (name, allowed) = (name.to_owned(), allowed.to_owned());
    UserError::Unknown { what, name, allowed }.into()
}

/// Times, and prints what was found.
///
/// # Errors
/// [`UserError`] for names and files that are not there, and the device's.
pub fn run(args: &BenchArgs, common: &Common) -> Result<()> {
    // Names and files are looked at before the device is opened.
    args.benches(Scale(1))?;
    let model = args.model.as_deref().map(models::block).transpose()?;
    let before = args.compare.as_deref().map(Report::read).transpose()?;
    let precision = common.precision()?.unwrap_or_default();
    let verbosity = common.verbosity();
    let mut say = |text: &str| verbosity.say(text);
    let stop = stop_flag();
    let mut executor = common.open(&mut say)?;
    let variant = args.variant(&executor, precision)?;
    let class = DeviceClass::of(&executor);
    let scale = Scale(class.scale().0 * if args.quick { QUICK } else { 1 });
    say("measuring what the device does at best");
    let roof = Roof::measure(&mut executor, precision)?;
    let mut report = report(&executor, precision, &roof, scale);
    for (what, then, now) in before.iter().flat_map(|before| {
        let device = ("of another device", &before.device, &report.device);
        [
            device,
            ("in another precision", &before.precision, &report.precision),
        ]
    }) {
        if then != now {
            say(&format!(
                "warning: the earlier report is {what}: {then}, not {now}"
            ));
        }
    }
    if let Some(variant) = variant {
        executor.force(variant);
    }
    let benches = args.benches(scale)?;
    let passes = |bench: &Bench| if bench.trains() { 2 } else { 1 };
    let all = benches.iter().map(passes).sum();
    let wait = Wait::new(verbosity, "timing", "benches");
    let mut done = 0;
    let mut waits_since = Instant::now();
    let each = benches.iter().flat_map(|bench| {
        let timed = [Timed::Forward, Timed::Training]
            .into_iter()
            .take(passes(bench) as usize);
        timed.map(move |timed| (bench, timed))
    });
    for (bench, timed) in each.take_while(|_| !stop.load(Ordering::Relaxed)) {
        wait.say(&format!("{} {}", bench.name(), timed.name()));
        match prepare(bench, timed, precision, &mut executor, variant)? {
            Ok(prepared) => {
                // Data of gigabytes take the host seconds, in which the clocks sink.
                let waited = waits_since.elapsed().min(class.warm_up());
                prepared.warm_up(executor.runtime(), waited)?;
                let timing = prepared.time(executor.runtime())?;
                waits_since = Instant::now();
                let mut entry = Entry::of(bench, timed, timing, prepared.cost, &roof);
                entry.variants = executor.runtime().variants(prepared.program());
                report.entries.push(entry);
            }
            Err(reason) => {
                let text = format!("{} {}: {reason}", bench.name(), timed.name());
                wait.say(&format!("skipped {text}"));
                report.skipped.push(text);
            }
        }
        done += 1;
        wait.at(done, all);
    }
    wait.finish();
    let mut ops = None;
    if let Some(kind) = model.filter(|_| !stop.load(Ordering::Relaxed)) {
        say(&format!("a training step of {}", kind.name()));
        match time_step(
            executor,
            kind,
            args.shape(class),
            precision,
            &roof,
            &mut say,
            stop,
        ) {
            Ok((_, entry, calls)) => {
                report.entries.push(entry);
                ops = (!calls.is_empty()).then(|| profile_table(&calls));
            }
            Err(Error::Stopped(_)) => {}
            Err(e) => return Err(e),
        }
    }
    let moved = before.as_ref().and_then(|before| report.roof_moved(before));
    let compared: Option<Vec<Comparison>> = before.as_ref().map(|before| {
        report
            .entries
            .iter()
            .filter_map(|e| Comparison::new(e, before, moved.is_some()))
            .collect()
    });
    if let Some(warning) = moved {
        say(&warning);
    }
    // What was asked to stop still says what it has found.
    let ended = match stop.load(Ordering::Relaxed) {
        true => Err(Error::Stopped("the bench")),
        false => Ok(()),
    };
    if args.json {
        print::result(&json(&report, compared.as_deref()))?;
        return ended;
    }
    let all = verbosity == Verbosity::Verbose;
    let mut text = vec![header(&report)];
    text.extend((!report.entries.is_empty()).then(|| entries(&report, all)));
    text.extend(report.entries.iter().filter_map(step_lines));
    text.extend(ops);
    text.extend(report.skipped.iter().map(|line| format!("skipped {line}")));
    text.extend(compared.map(|compared| comparison(&compared, all)));
    print::result(&text.join("\n\n"))?;
    ended
}

/// A bench that is ready, in the variant asked for; or why it is skipped.
fn prepare(
    bench: &Bench,
    timed: Timed,
    precision: Precision,
    executor: &mut Executor,
    variant: Option<&'static str>,
) -> Result<std::result::Result<Prepared, String>> {
    let offered = executor.offers(&bench.op, precision);
    if let Some(name) = variant.filter(|name| !offered.contains(name)) {
        return Ok(Err(format!("has no variant {name} here: {}", offered.join(", "))));
    }
    let prepared = Prepared::new(bench, timed, precision, executor)?;
    Ok(prepared.and_then(|prepared| {
        let run = executor.runtime().variants(prepared.program());
        let run = run.get(bench.op.name());
        match variant.filter(|name| run.is_some_and(|run| !run.contains(*name))) {
            Some(name) => Err(format!("the variant {name} does not take this shape")),
            None => Ok(prepared),
        }
    }))
}

fn report(executor: &Executor, precision: Precision, roof: &Roof, scale: Scale) -> Report {
    Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: env!("SELECTIV_COMMIT").to_owned(),
        device: executor.name(),
        driver: executor.driver(),
        precision: precision.to_string(),
        copy_gb_s: roof.copy * 1e-9,
        product_gflop_s: roof.product * 1e-9,
        product_size: roof.size,
        product_kernel: roof.kernel.clone(),
        scale: scale.0,
        entries: Vec::new(),
        skipped: Vec::new(),
    }
}

fn header(report: &Report) -> String {
    let smaller = match report.scale {
        1 => String::new(),
        n => format!("\nops at a {n}th of their size"),
    };
    format!(
        "{}, {}, commit {}\ncopy {:.1} GB/s, product {}^3 {:.1} GFLOP/s ({}){smaller}",
        report.device,
        report.precision,
        report.commit,
        report.copy_gb_s,
        report.product_size,
        report.product_gflop_s,
        report.product_kernel,
    )
}

fn entries(report: &Report, all: bool) -> String {
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let rows = report.entries.iter().map(|e| {
        vec![
            e.name.clone(),
            e.pass.clone(),
            ms(e.median_ms),
            ms(e.min_ms),
            ms(e.max_ms),
            e.runs.to_string(),
            format!("{:.1}", e.gb_s),
            format!("{:.1}", e.gflop_s),
            percent(e.copy_share),
            percent(e.product_share),
            percent(e.roof_share),
        ]
    });
    let header = [
        "",
        "pass",
        "median",
        "min",
        "max",
        "runs",
        "GB/s",
        "GFLOP/s",
        "of copy",
        "of product",
        "of roof",
    ];
    narrowed(&header, rows, &[0, 1, 2, 10], all)
}

/// A table of all columns, or of those that fit 80 columns beside the longest name, and what shows the others.
fn narrowed(header: &[&str], rows: impl Iterator<Item = Vec<String>>, few: &[usize], all: bool) -> String {
    let shown: Vec<usize> = match all {
        true => (0..header.len()).collect(),
        false => few.to_vec(),
    };
    let header: Vec<&str> = shown.iter().map(|&column| header[column]).collect();
    let mut table = plain_table(&header, 2);
    table.add_rows(rows.map(|row| {
        shown
            .iter()
            .map(|&column| row[column].clone())
            .collect::<Vec<_>>()
    }));
    match all {
        true => table.trim_fmt(),
        false => table.trim_fmt() + "\n-v or --json shows all columns",
    }
}

/// Milliseconds, or a unit in which the time has digits.
fn ms(ms: f64) -> String {
    match ms {
        _ if ms < 1e-3 => format!("{:.1} ns", 1e6 * ms),
        _ if ms < 0.1 => format!("{:.2} us", 1e3 * ms),
        _ => format!("{ms:.3} ms"),
    }
}

fn step_lines(entry: &Entry) -> Option<String> {
    let step = entry.step.as_ref()?;
    Some(format!(
        "{}: {:.0} tokens/s, {} parameters, {} held, micro-batches of {}, {} launches, first step after {:.2} s",
        entry.name,
        step.tokens_s,
        step.params,
        bytes(step.peak_bytes as f64),
        step.micro_batch,
        step.launches,
        step.first_step_s
    ))
}

fn comparison(compared: &[Comparison], all: bool) -> String {
    if compared.is_empty() {
        return "the earlier report has none of these entries".to_owned();
    }
    let rows = compared.iter().map(|c| {
        vec![
            c.name.clone(),
            c.pass.clone(),
            ms(c.before_ms),
            ms(c.now_ms),
            format!("{:.2}", c.speedup),
            times(c.before_over_roof),
            times(c.now_over_roof),
            c.verdict.to_string(),
        ]
    });
    let header = [
        "compared",
        "pass",
        "before",
        "now",
        "speed-up",
        "roof then",
        "roof",
        "",
    ];
    let table = narrowed(&header, rows, &[0, 1, 4, 6, 7], all);
    format!("{table}\nroof: times over what the device did at best in the same run")
}

/// How many times something.
fn times(n: f64) -> String {
    match n.is_finite() {
        true => format!("{n:.2}x"),
        false => "-".to_owned(),
    }
}

fn json(report: &Report, compared: Option<&[Comparison]>) -> String {
    let mut value = serde_json::to_value(report).expect("a report has only string keys");
    if let Some(compared) = compared {
        value["compared"] = serde_json::to_value(compared).expect("a comparison has only string keys");
    }
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Verdict;

    #[test]
    fn eighty_columns_have_room_for_the_longest_name() {
        let name = "gated_delta_product B64 T400 H8 128x256 n4".to_owned();
        let report: Report = serde_json::from_value(serde_json::json!({
            "version": "0.1.0", "commit": "abc1234", "device": "A card", "precision": "f32", "copy_gb_s": 1.0,
            "product_gflop_s": 1.0, "product_size": 1, "product_kernel": "", "scale": 1, "skipped": [],
            "entries": [{
                "name": name, "op": "delta_rule", "pass": "training", "source": "", "median_ms": 123.456, "min_ms": 120.0,
                "max_ms": 130.0, "runs": 15, "gb_s": 1234.5, "gflop_s": 12345.6, "copy_share": 0.5, "product_share": 0.25,
                "roof_share": 0.5,
            }],
        }))
        .unwrap();
        let compared = [Comparison {
            name,
            pass: "training".to_owned(),
            before_ms: 123.456,
            now_ms: 110.0,
            speedup: 1.12,
            before_over_roof: 120.25,
            now_over_roof: 117.55,
            verdict: Verdict::Faster,
        }];
        for text in [entries(&report, false), comparison(&compared, false)] {
            assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
            assert!(
                text.contains("n4  training") && text.contains("-v or --json"),
                "{text}"
            );
        }
        let all = entries(&report, true) + &comparison(&compared, true);
        assert!(
            all.contains("12345.6") && all.contains("123.456 ms") && !all.contains("-v or"),
            "{all}"
        );
    }
}

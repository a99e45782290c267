//! `selectiv data`: looks at samples, and takes them out to a file and back.

use super::common::{Common, Verbosity};
use super::inspect::plain_table;
use super::number::{MOST, whole};
use super::print;
use super::progress::Wait;
use super::train::overrides;
use crate::config::Config;
use crate::error::{Error, Result, UserError};
use crate::files;
use crate::memory;
use crate::tasks::{DataSet, Sample, Split, stored};
use crate::train::records::atomic;
use crate::train::{Existing, Target, setup};
use clap::{Args, Subcommand, ValueEnum};
use plotters::prelude::*;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

/// Most time steps in a picture.
const MOST_STEPS: usize = 200;
/// Frame of symbols that the grammar does not allow where they stand.
const WRONG: RGBColor = RGBColor(0xc8, 0x1e, 0x1e);

/// Arguments of `selectiv data`.
#[derive(Debug, Clone, Args)]
pub struct DataArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Print one sample as a model meets it: symbols, states, gaps, targets
    Show(ShowArgs),
    /// Write all samples of a task to a safetensors file
    Export(ExportArgs),
    /// Make a folder for `[data] path` from such a file
    Import(ImportArgs),
}

/// The task, and what is changed about it.
#[derive(Debug, Clone, Args)]
struct TaskArgs {
    /// Task file, or the name of a built-in one
    #[arg(value_name = "TASK.toml")]
    task: PathBuf,
    /// Any field of the task file
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// Seed of grammar and data
    #[arg(long, allow_negative_numbers = true)]
    seed: Option<String>,
}

impl TaskArgs {
    fn data_set(&self) -> Result<DataSet> {
        let overrides = overrides(&self.set, &[("seed", &self.seed)])?;
        setup::data_set(&Config::load(&self.task, &overrides)?)
    }
}

#[derive(Debug, Clone, Args)]
struct ShowArgs {
    #[command(flatten)]
    task: TaskArgs,
    /// Number of the sample in its split, from 0 on
    #[arg(long, value_name = "N", value_parser = whole::<u64>(0..=MOST), allow_negative_numbers = true)]
    idx: u64,
    /// Which samples
    #[arg(long, value_enum, default_value_t = Of::Train)]
    split: Of,
    /// Also draw the beginning of the sample: input rows, and what is asked for
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// The splits by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Of {
    Train,
    Validation,
    Test,
}

impl From<Of> for Split {
    fn from(of: Of) -> Self {
        match of {
            Of::Train => Self::Train,
            Of::Validation => Self::Validation,
            Of::Test => Self::Test,
        }
    }
}

#[derive(Debug, Clone, Args)]
struct ExportArgs {
    #[command(flatten)]
    task: TaskArgs,
    /// File to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Also write input rows, noise included
    #[arg(long, requires = "limit")]
    dense: bool,
    /// Samples of each split whose input rows are written
    #[arg(long, value_name = "N", requires = "dense", value_parser = whole::<usize>(1..=MOST), allow_negative_numbers = true)]
    limit: Option<usize>,
}

#[derive(Debug, Clone, Args)]
struct ImportArgs {
    /// File of an export
    file: PathBuf,
    /// Folder to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Shows, exports or imports.
///
/// # Errors
/// [`UserError`] for a task, a sample or a file that is not there or not as it should be, and for a target that exists:
/// nothing has been written then. Otherwise the file system's.
pub fn run(args: &DataArgs, common: &Common) -> Result<()> {
    match &args.command {
        Command::Show(args) => show(args),
        Command::Export(args) => export(args, common.verbosity()),
        Command::Import(args) => import(args),
    }
}

fn refuse(path: &Path, reason: String) -> Error {
    let path = path.to_owned();
    UserError::Folder { path, reason }.into()
}

fn show(args: &ShowArgs) -> Result<()> {
    let data = args.task.data_set()?;
    let split = args.split.into();
    let count = data.count(split);
    if args.idx >= count {
        return Err(UserError::Value {
            place: "command line".to_owned(),
            field: "--idx".to_owned(),
            found: args.idx.to_string(),
            allowed: format!("0 to {}: there are {count} such samples", count.saturating_sub(1)),
        }
        .into());
    }
    let sample = data.sample(split, args.idx);
    let drawing = |path: &PathBuf| Target::new(path, Existing::Replaced, []);
    let target = args.svg.as_ref().map(drawing).transpose()?;
    if let (Some(path), Some(target)) = (&args.svg, target) {
        let picture = picture(&data, split, args.idx, &sample)
            .map_err(|e| refuse(path, format!("cannot draw this sample: {e}")))?;
        target.write(picture.as_bytes())?;
    }
    print::result(&text(&data, &sample))
}

/// A line an element.
fn text(data: &DataSet, sample: &Sample) -> String {
    let grammar = data.grammar();
    let filled = !sample.gap_symbols.is_empty();
    let mut header = vec!["element", "step", "symbol", "id", "state", "target", "gap s"];
    if filled {
        header.push("in the gap");
    }
    let mut table = plain_table(&header, 2);
    let mut symbols = sample.gap_symbols.iter();
    for (e, [first, steps]) in sample.windows().enumerate() {
        let mut row = vec![
            e.to_string(),
            first.to_string(),
            grammar.symbol_name(sample.symbols[e]),
            sample.symbols[e].to_string(),
            grammar.names()[usize::from(sample.states[e])].clone(),
            sample.targets[e].to_string(),
            format!("{:.1}", f64::from(steps - 1) / 10.0),
        ];
        if filled {
            let names = symbols.by_ref().take(steps as usize - 1);
            let names: Vec<String> = names.map(|&symbol| grammar.symbol_name(symbol)).collect();
            row.push(names.join(" "));
        }
        table.add_row(row);
    }
    format!("{}\n{} time steps of 0.1 s", table.trim_fmt(), sample.steps())
}

/// Input rows as shades, a column a time step, wrong symbols framed, and under them what is asked for.
fn picture(
    data: &DataSet,
    split: Split,
    idx: u64,
    sample: &Sample,
) -> std::result::Result<String, Box<dyn std::error::Error>> {
    let vocab = data.grammar().vocab();
    let batch = data.batch(split, idx, 1);
    let rows = data.dense(&batch);
    let steps = batch.t.min(MOST_STEPS);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (1100, 120 + 14 * vocab as u32)).into_drawing_area();
        root.fill(&WHITE)?;
        let mut title = format!("sample {idx}, the first {steps} of {} time steps", batch.t);
        if !sample.gap_symbols.is_empty() {
            title = format!("{title}; framed: symbols that the grammar does not allow there");
        }
        let mut chart = ChartBuilder::on(&root)
            .caption(title, ("Helvetica, Arial, sans-serif", 16))
            .margin(10)
            .x_label_area_size(30)
            .y_label_area_size(50)
            .build_cartesian_2d(0.0..steps as f64, -1.5..vocab as f64)?;
        let name = |y: &f64| match y.floor() {
            y if y >= 0.0 && (y as usize) < vocab => data.grammar().symbol_name(y as u8),
            _ => String::new(),
        };
        chart
            .configure_mesh()
            .disable_mesh()
            .x_desc("time step (0.1 s)")
            .y_labels(vocab.min(60))
            .y_label_formatter(&name)
            .draw()?;
        let shade = |value: f32| {
            let light = 255.0 * (1.0 - f64::from(value.clamp(0.0, 1.0)));
            RGBColor(light as u8, light as u8, (light * 0.7 + 76.0) as u8).filled()
        };
        chart.draw_series(
            rows.chunks(vocab)
                .take(steps)
                .enumerate()
                .flat_map(|(step, row)| {
                    let cell = move |(channel, &value): (usize, &f32)| {
                        let (x, y) = (step as f64, channel as f64);
                        Rectangle::new([(x, y), (x + 1.0, y + 1.0)], shade(value))
                    };
                    row.iter()
                        .enumerate()
                        .filter(|(_, value)| **value > 0.0)
                        .map(cell)
                        .collect::<Vec<_>>()
                }),
        )?;
        let firsts: HashSet<u32> = sample.windows().map(|[first, _]| first).collect();
        let shown = sample.step_symbols().take(steps).enumerate();
        let wrong = shown.filter(|(step, _)| !firsts.contains(&(*step as u32)));
        chart.draw_series(
            wrong
                .filter_map(|(step, symbol)| Some((step as f64, f64::from(symbol?))))
                .map(|(x, y)| Rectangle::new([(x, y), (x + 1.0, y + 1.0)], WRONG.stroke_width(2))),
        )?;
        let windows = sample.windows().zip(&sample.targets).enumerate();
        for (e, ([first, len], target)) in
            windows.take_while(|(_, ([first, _], _))| (*first as usize) < steps)
        {
            let (from, to) = (f64::from(first), f64::from(first + len).min(steps as f64));
            let color = if e % 2 == 0 {
                RGBColor(0xd9, 0xe6, 0xf5)
            } else {
                RGBColor(0xf5, 0xe6, 0xd9)
            };
            chart.draw_series([Rectangle::new([(from, -1.4), (to, -0.1)], color.filled())])?;
            if to - from >= 4.0 {
                let style = ("Helvetica, Arial, sans-serif", 10).into_font();
                chart.draw_series([Text::new(target.to_string(), (from + 0.3, -0.4), style)])?;
            }
        }
        root.present()?;
    }
    Ok(svg)
}

fn export(args: &ExportArgs, verbosity: Verbosity) -> Result<()> {
    let target = Target::new(&args.out, Existing::Kept("choose another --out"), [])?;
    let data = args.task.data_set()?;
    let counts = [Split::Train, Split::Validation, Split::Test].map(|split| data.count(split));
    let all = counts.iter().sum();
    memory::ask("the samples of the file", stored::bytes(all, data.spec().length))?;
    let start = Instant::now();
    let wait = Mutex::new((0, Wait::new(verbosity, "making samples", "samples")));
    let made = |samples: u64| {
        let mut wait = wait.lock().expect("nothing panics while holding it");
        wait.0 += samples;
        wait.1.at(wait.0, all);
    };
    let mut bytes = 0;
    let dense = args.limit.filter(|_| args.dense);
    target.write_by(|out| {
        bytes = data.write_file(dense, &made, out)?;
        Ok(())
    })?;
    wait.into_inner()
        .expect("nothing panics while holding it")
        .1
        .finish();
    let [train, validation, test] = counts;
    let done = format!(
        "{}: {train} training, {validation} validation and {test} test samples, {bytes} bytes in {:.1} s",
        args.out.display(),
        start.elapsed().as_secs_f64()
    );
    verbosity.written(&target, &done)
}

fn import(args: &ImportArgs) -> Result<()> {
    let used = args.out.exists()
        && std::fs::read_dir(&args.out).map_or(true, |mut entries| entries.next().is_some());
    if used {
        return Err(refuse(
            &args.out,
            "exists and is not an empty folder; choose another --out".to_owned(),
        ));
    }
    let bytes = files::read_large(&args.file, 2)
        .map_err(|e| refuse(&args.file, format!("cannot read these samples: {e}")))?;
    let found = stored::Stored::read(&bytes, &args.file.display().to_string())?;
    std::fs::create_dir_all(&args.out).map_err(|source| Error::Io {
        action: "create",
        path: args.out.clone(),
        source,
    })?;
    // The samples last: they make the folder one that can be trained on.
    let grammar = found.header().grammar.clone();
    atomic::replace(&args.out.join(stored::GRAMMAR_FILE), |out| {
        out.write_all(grammar.as_bytes())
    })?;
    atomic::replace(&args.out.join(stored::FILE), |out| out.write_all(&bytes))?;
    let spec = &found.header().spec;
    print::result(&format!(
        "{}: {} training, {} validation and {} test samples; train on them with --set data.path={}",
        args.out.display(),
        spec.train,
        spec.validation,
        spec.test,
        args.out.display()
    ))
}

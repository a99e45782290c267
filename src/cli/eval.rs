//! `selectiv eval`: tests a trained run, at its own gap and others, or on another task; shows what its gates do, and
//! whether decoding token by token does the same.

use super::by::{By, Table};
use super::common::{Common, Verbosity};
use super::inspect::{bytes, counted, plain_table};
use super::number::gap;
use super::print;
use super::progress::Wait;
use super::signals::stop_flag;
use crate::config::{Config, task_name};
use crate::error::{Error, Result, UserError};
use crate::models::{Gate, ModelConfig};
use crate::tasks::{DataSet, Gap, Split};
use crate::train::explain::{Explained, explain};
use crate::train::folder::read_run;
use crate::train::{Decoded, Evaluator, Executor, GateMean, Saved, decode, fed_by, gate_means, setup};
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Arguments of `selectiv eval`.
#[derive(Debug, Clone, Args)]
pub struct EvalArgs {
    /// Folder of a run
    pub dir: PathBuf,
    /// Gaps to test at, in seconds (a time step is 0.1 s)
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "LIST",
        value_parser = gap,
        allow_negative_numbers = true
    )]
    pub gaps: Vec<Gap>,
    /// Print what the gates do on symbols and gaps instead: mean decay, write strength and read-out gate a head
    #[arg(long)]
    pub gates: bool,
    /// Print the accuracy by what the symbols have in common instead
    #[arg(long, value_delimiter = ',', value_name = "LIST", conflicts_with = "gates")]
    pub by: Vec<By>,
    /// Compare with decoding token by token, whose state does not grow (but for attention); exit code 1 if they differ
    #[arg(long, conflicts_with_all = ["gates", "by"])]
    pub decode: bool,
    /// Another task to test on
    #[arg(long, value_name = "OTHER.toml")]
    pub task: Option<PathBuf>,
    /// Print a list of objects instead of a table
    #[arg(long)]
    pub json: bool,
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
struct Line {
    task: String,
    model: String,
    blocks: Vec<String>,
    sizes: serde_json::Map<String, serde_json::Value>,
    step: u64,
    gap: String,
    gap_steps: u32,
    samples: u64,
    accuracy: f64,
    loss: f64,
    chance: f64,
    ceiling: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    kl: Option<f64>,
}

/// Tests and prints. `false` if decoding does not agree with the form over whole sequences.
///
/// # Errors
/// [`UserError`] if the folder holds no run or the task does not fit its model; the device's.
pub fn run(args: &EvalArgs, common: &Common) -> Result<bool> {
    let verbosity = common.verbosity();
    let mut say = |text: &str| verbosity.say(text);
    let (config, saved) = read_run(&args.dir, &mut say)?;
    let own = setup::data_set(&config)?;
    let model = setup::model(&config, Some(&saved.state.model), own.grammar())?;
    let (task, data) = match &args.task {
        None => (saved.state.task.clone(), own),
        Some(path) => (
            task_name(path),
            other_task(path, &Config::load(path, &[])?, &model)?,
        ),
    };
    let sets = with_gaps(&data, &args.gaps)?;
    let stop = stop_flag();
    let mut executor = common.open(&mut say)?;
    let place = args.dir.display().to_string();
    let mut tester = Tester {
        executor: &mut executor,
        model: &model,
        saved: &saved,
        place: &place,
        watch: Watched::new(verbosity, &sets, args.decode, stop),
    };
    if args.gates {
        let tables = each(&sets, |data| tester.gates(data))?;
        tester.watch.finish();
        return shown(args.json, &tables, "\n\n", GateTable::text).and(tester.watch.end(true));
    }
    if !args.by.is_empty() {
        let found = each(&sets, |data| tester.taken_apart(data))?;
        let of_set = |(explained, data): (&Explained, &Arc<DataSet>)| {
            let tables = args.by.iter().map(|by| Table::new(*by, explained, data));
            tables.collect::<Vec<_>>()
        };
        let tables: Vec<Table> = found.iter().zip(&sets).flat_map(of_set).collect();
        tester.watch.finish();
        return shown(args.json, &tables, "\n\n", Table::text).and(tester.watch.end(true));
    }
    if args.decode {
        let decoded = each(&sets, |data| tester.decode(data))?;
        tester.watch.finish();
        let agree = decoded.iter().all(Decoded::agrees);
        return shown(args.json, &decoded, "\n\n", |d| decode_text(d, &model)).and(tester.watch.end(agree));
    }
    // What does not fit is found before anything is tested.
    if let Some(longest) = sets.iter().max_by_key(|data| data.max_steps(Split::Test)) {
        tester.evaluator(longest)?;
    }
    let blank = Line {
        task,
        model: saved.state.model.clone(),
        step: saved.step,
        blocks: model.blocks.iter().map(|block| block.name().to_owned()).collect(),
        sizes: setup::sizes(&config.model.sizes),
        ..Line::default()
    };
    let lines = each(&sets, |data| tester.test(data, &blank))?;
    tester.watch.finish();
    if lines.is_empty() {
        return tester.watch.end(true);
    }
    print::result(&if args.json {
        json(&lines)
    } else {
        let text = setup::model_text(&blank.model, &blank.blocks, model.d_model, &blank.sizes);
        format!("{text}, after update {}\n{}", saved.step, table(&lines))
    })?;
    tester.watch.end(true)
}

/// What is found on each data set, up to the one at which it is to stop.
fn each<T>(
    sets: &[Arc<DataSet>],
    mut find: impl FnMut(&Arc<DataSet>) -> Result<Option<T>>,
) -> Result<Vec<T>> {
    let mut all = Vec::new();
    for data in sets {
        match find(data)? {
            Some(found) => all.push(found),
            None => break,
        }
    }
    Ok(all)
}

/// Prints what was found, if anything was.
fn shown<T: Serialize>(as_json: bool, found: &[T], between: &str, text: impl Fn(&T) -> String) -> Result<()> {
    if found.is_empty() {
        return Ok(());
    }
    print::result(&if as_json {
        json(&found)
    } else {
        found.iter().map(text).collect::<Vec<_>>().join(between)
    })
}

/// How far the work on all data sets is, and whether a signal wants it to end.
struct Watched {
    wait: Wait,
    stop: &'static AtomicBool,
    /// Data sets that are done, of all.
    done: u64,
    all: u64,
}

impl Watched {
    fn new(verbosity: Verbosity, sets: &[Arc<DataSet>], tokens: bool, stop: &'static AtomicBool) -> Self {
        let unit = if tokens { "tokens" } else { "samples" };
        Self {
            wait: Wait::new(verbosity, "testing", unit),
            stop,
            done: 0,
            all: sets.len() as u64,
        }
    }

    /// So many parts of all of a data set are done; data sets count alike. Whether to go on.
    fn at(&self, done: u64, all: u64) -> bool {
        self.wait.at(self.done * all + done, self.all * all);
        !self.stop.load(Ordering::Relaxed)
    }

    fn finish(&self) {
        self.wait.finish();
    }

    /// The end of the command: an error if a signal has ended it.
    fn end(&self, good: bool) -> Result<bool> {
        if self.done < self.all {
            return Err(Error::Stopped("the test"));
        }
        Ok(good)
    }
}

/// A run's weights on a device.
struct Tester<'a> {
    executor: &'a mut Executor,
    model: &'a ModelConfig,
    saved: &'a Saved,
    place: &'a str,
    watch: Watched,
}

impl Tester<'_> {
    /// Counts a data set as done, unless it was not finished.
    fn done<T>(&mut self, found: Option<T>) -> Option<T> {
        self.watch.done += u64::from(found.is_some());
        found
    }

    fn gates(&mut self, data: &Arc<DataSet>) -> Result<Option<GateTable>> {
        if !self.watch.at(0, 1) {
            return Ok(None);
        }
        let gates = gate_means(self.executor, self.model, &self.saved.weights, data, self.place)?;
        let gap_steps = data.gap(Split::Test).max_steps();
        Ok(self.done(Some(GateTable { gap_steps, gates })))
    }

    fn decode(&mut self, data: &Arc<DataSet>) -> Result<Option<Decoded>> {
        let watch = &self.watch;
        let go_on = &mut |done, all| watch.at(done, all);
        let weights = &self.saved.weights;
        let decoded = decode(self.executor, self.model, weights, data, self.place, go_on)?;
        Ok(self.done(decoded))
    }

    fn test(&mut self, data: &Arc<DataSet>, blank: &Line) -> Result<Option<Line>> {
        let mut evaluator = self.evaluator(data)?;
        let held = self.executor.runtime().total_bytes();
        self.watch.wait.say(&format!(
            "gap {}: {} of at most {} time steps, {} at a time; {}",
            data.gap(Split::Test),
            counted(data.count(Split::Test), "sample"),
            data.max_steps(Split::Test),
            evaluator.batch(),
            bytes(held as f64)
        ));
        let watch = &self.watch;
        let go_on = &mut |done, all| watch.at(done, all);
        let score = evaluator.run(self.executor, data, Split::Test, go_on)?;
        let line = score.map(|score| Line {
            gap: data.gap(Split::Test).to_string(),
            gap_steps: data.gap(Split::Test).max_steps(),
            samples: data.count(Split::Test),
            accuracy: score.accuracy,
            loss: score.loss,
            chance: 1.0 / data.classes() as f64,
            ceiling: data.ceiling(),
            kl: score.kl,
            ..blank.clone()
        });
        Ok(self.done(line))
    }

    fn taken_apart(&mut self, data: &Arc<DataSet>) -> Result<Option<Explained>> {
        let mut evaluator = self.evaluator(data)?;
        let watch = &self.watch;
        let go_on = &mut |done, all| watch.at(done, all);
        let explained = explain(&mut evaluator, self.executor, data, Split::Test, go_on)?;
        Ok(self.done(explained))
    }

    /// What tests the model, with its weights on the device.
    fn evaluator(&mut self, data: &Arc<DataSet>) -> Result<Evaluator> {
        self.executor.runtime().reset();
        let model = fed_by(self.model, data);
        let evaluator = Evaluator::new(self.executor, &model, data, Split::Test)?;
        evaluator.set_weights(self.executor, &self.saved.weights, self.place)?;
        Ok(evaluator)
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("names and numbers have a JSON form")
}

/// What the gates do at one gap.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct GateTable {
    gap_steps: u32,
    gates: Vec<GateMean>,
}

impl GateTable {
    fn text(&self) -> String {
        if self.gates.is_empty() {
            return "no block of this model shows a gate".to_owned();
        }
        let header = ["layer", "block", "gate", "head", "on symbols", "in gaps"];
        let mut table = plain_table(&header, 3);
        for row in &self.gates {
            let gate = match row.gate {
                Gate::Decay => "decay",
                Gate::Write => "write strength",
                Gate::Readout => "read-out gate",
            };
            table.add_row([
                row.layer.to_string(),
                row.block.to_owned(),
                gate.to_owned(),
                row.head.to_string(),
                format!("{:.4}", row.symbols),
                row.gaps
                    .map_or_else(|| "-".to_owned(), |mean| format!("{mean:.4}")),
            ]);
        }
        format!("{}\ngap steps {}", table.trim_fmt(), self.gap_steps)
    }
}

fn decode_text(decoded: &Decoded, model: &ModelConfig) -> String {
    let mut layers = plain_table(&["layer", "block", "bytes of state"], 2);
    for (layer, (block, bytes)) in model.blocks.iter().zip(&decoded.state_bytes).enumerate() {
        layers.add_row([layer.to_string(), block.name().to_owned(), bytes.to_string()]);
    }
    let verdict = if decoded.agrees() {
        "they agree"
    } else {
        "THEY DO NOT AGREE"
    };
    format!(
        "{}\n\n{}, {} tokens: accuracy {:.2} % over whole sequences, {:.2} % token by token\nlogits differ by \
         {:.1e} of their norm: {verdict}\n{:.0} tokens/s, {} at a time",
        layers.trim_fmt(),
        counted(decoded.samples, "sample"),
        decoded.tokens,
        100.0 * decoded.accuracy_chunkwise,
        100.0 * decoded.accuracy_decode,
        decoded.error,
        decoded.tokens_per_s,
        counted(decoded.samples, "sequence")
    )
}

fn other_task(path: &Path, config: &Config, model: &ModelConfig) -> Result<DataSet> {
    let data = setup::data_set(config)?;
    let (vocab, classes) = (data.grammar().vocab(), data.classes());
    if vocab <= model.vocab && classes <= model.classes {
        return Ok(data);
    }
    Err(UserError::Value {
        place: path.display().to_string(),
        field: "grammar".to_owned(),
        found: format!("{vocab} symbols and {classes} classes"),
        allowed: format!(
            "at most the {} symbols and {} classes that the model was made for",
            model.vocab, model.classes
        ),
    }
    .into())
}

/// The data set at each of these gaps, in seconds, or at its own if there are none.
fn with_gaps(data: &DataSet, gaps: &[Gap]) -> Result<Vec<Arc<DataSet>>> {
    let mut gaps = gaps.to_vec();
    if gaps.is_empty() {
        gaps.extend(data.spec().test_gap.all());
    }
    let tested = |gap| {
        let data = data.with_test_gap(gap);
        data.spec().validate()?;
        Ok(Arc::new(data))
    };
    gaps.into_iter().map(tested).collect()
}

fn table(lines: &[Line]) -> String {
    let mut header = vec![
        "task", "gap", "steps", "samples", "accuracy", "chance", "ceiling", "loss",
    ];
    let has_kl = lines.iter().any(|line| line.kl.is_some());
    if has_kl {
        header.push("KL");
    }
    let mut table = plain_table(&header, 2);
    for line in lines {
        let percent = |x: f64| format!("{:.2} %", 100.0 * x);
        let mut row = vec![
            line.task.clone(),
            line.gap.clone(),
            line.gap_steps.to_string(),
            line.samples.to_string(),
            percent(line.accuracy),
            percent(line.chance),
            percent(line.ceiling),
            format!("{:.4}", line.loss),
        ];
        if has_kl {
            row.push(line.kl.map_or_else(String::new, |kl| format!("{kl:.4}")));
        }
        table.add_row(row);
    }
    table.trim_fmt()
}

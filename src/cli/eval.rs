//! `selectiv eval`: tests a trained run, at its own gap and others, or on another task; shows what its gates do, and
//! whether decoding token by token does the same.

use super::by::{By, Table};
use super::common::Common;
use super::inspect::{bytes, plain_table};
use super::print;
use crate::config::{Config, task_name};
use crate::error::{Result, UserError};
use crate::models::{Gate, ModelConfig};
use crate::tasks::{DataSet, Gap, Split};
use crate::train::explain::{Explained, explain};
use crate::train::folder::read_run;
use crate::train::{Decoded, Evaluator, Executor, GateMean, Saved, Score, decode, fed_by, gate_means, setup};
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

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
        allow_negative_numbers = true
    )]
    pub gaps: Vec<f64>,
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
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    let mut executor = common.open(&mut say)?;
    let place = args.dir.display().to_string();
    if args.gates {
        let tables: Vec<GateTable> = sets
            .iter()
            .map(|data| {
                let gates = gate_means(&mut executor, &model, &saved.weights, data, &place)?;
                let gap_steps = data.gap(Split::Test).max_steps();
                Ok(GateTable { gap_steps, gates })
            })
            .collect::<Result<_>>()?;
        print::result(&if args.json {
            json(&tables)
        } else {
            tables
                .iter()
                .map(GateTable::text)
                .collect::<Vec<_>>()
                .join("\n\n")
        })?;
        return Ok(true);
    }
    if !args.by.is_empty() {
        let mut tables = Vec::new();
        for data in &sets {
            let explained = taken_apart(&mut executor, &model, data, &saved, &place)?;
            tables.extend(args.by.iter().map(|by| Table::new(*by, &explained, data)));
        }
        print::result(&if args.json {
            json(&tables)
        } else {
            tables.iter().map(Table::text).collect::<Vec<_>>().join("\n\n")
        })?;
        return Ok(true);
    }
    if args.decode {
        let decoded = sets
            .iter()
            .map(|data| decode(&mut executor, &model, &saved.weights, data, &place))
            .collect::<Result<Vec<_>>>()?;
        print::result(&if args.json {
            json(&decoded)
        } else {
            let texts = decoded.iter().map(|decoded| decode_text(decoded, &model));
            texts.collect::<Vec<_>>().join("\n\n")
        })?;
        return Ok(decoded.iter().all(Decoded::agrees));
    }
    // What does not fit is found before anything is tested.
    if let Some(longest) = sets.iter().max_by_key(|data| data.max_steps(Split::Test)) {
        evaluator(&mut executor, &model, longest, &saved, &place)?;
    }
    let blocks: Vec<String> = model.blocks.iter().map(|block| block.name().to_owned()).collect();
    let sizes = setup::sizes(&config.model.sizes);
    let mut lines = Vec::new();
    for data in &sets {
        let score = test(&mut executor, &model, data, &saved, &place, &mut say)?;
        lines.push(Line {
            task: task.clone(),
            model: saved.state.model.clone(),
            blocks: blocks.clone(),
            sizes: sizes.clone(),
            step: saved.step,
            gap: data.gap(Split::Test).to_string(),
            gap_steps: data.gap(Split::Test).max_steps(),
            samples: data.count(Split::Test),
            accuracy: score.accuracy,
            loss: score.loss,
            chance: 1.0 / data.classes() as f64,
            ceiling: data.ceiling(),
            kl: score.kl,
        });
    }
    print::result(&if args.json {
        json(&lines)
    } else {
        let text = setup::model_text(&saved.state.model, &blocks, config.model.sizes.d_model, &sizes);
        format!("{}\n{text}, after update {}", table(&lines), saved.step)
    })?;
    Ok(true)
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
        "{}\n\n{} samples, {} tokens: accuracy {:.2} % over whole sequences, {:.2} % token by token\nlogits differ by \
         {:.1e} of their norm: {verdict}\n{:.0} tokens/s, {} sequences at a time",
        layers.trim_fmt(),
        decoded.samples,
        decoded.tokens,
        100.0 * decoded.accuracy_chunkwise,
        100.0 * decoded.accuracy_decode,
        decoded.error,
        decoded.tokens_per_s,
        decoded.samples
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
fn with_gaps(data: &DataSet, seconds: &[f64]) -> Result<Vec<Arc<DataSet>>> {
    let mut gaps = Vec::new();
    for &gap in seconds {
        let refuse = || UserError::Value {
            place: "command line".to_owned(),
            field: "--gaps".to_owned(),
            found: gap.to_string(),
            allowed: "multiples of 0.1 from 0 to 100 (seconds)".to_owned(),
        };
        gaps.push(Gap::fixed(gap).ok_or_else(refuse)?);
    }
    if gaps.is_empty() {
        gaps.extend(data.spec().test_gap.all());
    }
    Ok(gaps
        .into_iter()
        .map(|gap| Arc::new(data.with_test_gap(gap)))
        .collect())
}

fn test(
    executor: &mut Executor,
    model: &ModelConfig,
    data: &Arc<DataSet>,
    saved: &Saved,
    place: &str,
    say: &mut dyn FnMut(&str),
) -> Result<Score> {
    let mut evaluator = evaluator(executor, model, data, saved, place)?;
    let runtime = executor.runtime();
    say(&format!(
        "gap {}: {} samples of at most {} time steps, {} at a time; {}",
        data.gap(Split::Test),
        data.count(Split::Test),
        data.max_steps(Split::Test),
        evaluator.batch(),
        bytes(runtime.total_bytes() as f64)
    ));
    // A signal ends this command at once: there is nothing to save.
    let score = evaluator.run(executor, data, Split::Test, &AtomicBool::new(false))?;
    Ok(score.expect("nobody sets the flag"))
}

/// What tests a model, with its weights on the device.
fn evaluator(
    executor: &mut Executor,
    model: &ModelConfig,
    data: &Arc<DataSet>,
    saved: &Saved,
    place: &str,
) -> Result<Evaluator> {
    executor.runtime().reset();
    let model = fed_by(model, data);
    let evaluator = Evaluator::new(executor, &model, data, Split::Test)?;
    evaluator.set_weights(executor, &saved.weights, place)?;
    Ok(evaluator)
}

fn taken_apart(
    executor: &mut Executor,
    model: &ModelConfig,
    data: &Arc<DataSet>,
    saved: &Saved,
    place: &str,
) -> Result<Explained> {
    let mut evaluator = evaluator(executor, model, data, saved, place)?;
    let explained = explain(
        &mut evaluator,
        executor,
        data,
        Split::Test,
        &AtomicBool::new(false),
    )?;
    Ok(explained.expect("nobody sets the flag"))
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

//! `selectiv eval`: tests a trained run, at its own gap and others, or on another task.

use super::device::DeviceArgs;
use super::folder::read_run;
use super::inspect::plain_table;
use super::print_result;
use super::progress::Verbosity;
use crate::config::{Config, task_name};
use crate::error::{Result, UserError};
use crate::models::ModelConfig;
use crate::tasks::{DataSet, Split, plain_gap_steps};
use crate::train::{Evaluator, Executor, Saved, ceiling, setup};
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
    /// Gaps to test at, in units of 10 time steps
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub gaps: Vec<f64>,
    /// Another task to test on
    #[arg(long, value_name = "OTHER.toml")]
    pub task: Option<PathBuf>,
    /// Print a list of objects instead of a table
    #[arg(long)]
    pub json: bool,
    /// Say nothing but the result
    #[arg(short, long)]
    pub quiet: bool,
    /// Where to compute
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Line {
    task: String,
    model: String,
    step: u64,
    gap_steps: u32,
    samples: u64,
    accuracy: f64,
    loss: f64,
    chance: f64,
    ceiling: f64,
}

/// Tests and prints.
///
/// # Errors
/// [`UserError`] if the folder holds no run or the task does not fit its model; the device's.
pub fn run(args: &EvalArgs) -> Result<()> {
    let verbosity = Verbosity::of(args.quiet, false);
    let mut say = |text: &str| verbosity.say(text);
    let (config, saved) = read_run(&args.dir, &mut say)?;
    let own = setup::data_set(&config)?;
    let model = setup::model(&config, Some(&saved.state.model), own.grammar())?;
    let (task, data, seed) = match &args.task {
        None => (saved.state.task.clone(), own, config.train.seed),
        Some(path) => {
            let other = Config::load(path, &[])?;
            (
                task_name(path),
                other_task(path, &other, &model)?,
                other.train.seed,
            )
        }
    };
    let sets = with_gaps(data, &args.gaps, seed)?;
    let mut executor = args.device.open(&mut say)?;
    let place = args.dir.display().to_string();
    let mut lines = Vec::new();
    let ceiling = ceiling(&sets[0]);
    for data in &sets {
        let (accuracy, loss) = test(&mut executor, &model, data, &saved, &place)?;
        lines.push(Line {
            task: task.clone(),
            model: saved.state.model.clone(),
            step: saved.step,
            gap_steps: data.gap_steps(Split::Test),
            samples: data.count(Split::Test),
            accuracy,
            loss,
            chance: 1.0 / data.grammar().classes() as f64,
            // Plain gaps take nothing from an observer who sees every symbol.
            ceiling,
        });
    }
    print_result(&if args.json {
        serde_json::to_string_pretty(&lines).expect("names and numbers have a JSON form")
    } else {
        table(&lines)
    })
}

fn other_task(path: &Path, config: &Config, model: &ModelConfig) -> Result<DataSet> {
    let data = setup::data_set(config)?;
    let (vocab, classes) = (data.grammar().vocab(), data.grammar().classes());
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

/// The data set at each gap, or at its own if there are none.
fn with_gaps(data: DataSet, gaps: &[f64], seed: u64) -> Result<Vec<Arc<DataSet>>> {
    if gaps.is_empty() {
        return Ok(vec![Arc::new(data)]);
    }
    gaps.iter()
        .map(|&gap| {
            let mut spec = data.spec().clone();
            spec.test_gap_steps = plain_gap_steps(gap, "--gaps")?;
            Ok(Arc::new(DataSet::new(Arc::clone(data.grammar()), spec, seed)?))
        })
        .collect()
}

fn test(
    executor: &mut Executor,
    model: &ModelConfig,
    data: &Arc<DataSet>,
    saved: &Saved,
    place: &str,
) -> Result<(f64, f64)> {
    executor.runtime().reset();
    let extents = [data.max_steps(Split::Test), data.spec().length];
    let evaluator = Evaluator::new(executor, model, data.count(Split::Test), extents)?;
    evaluator.set_weights(executor, &saved.weights, place)?;
    // A signal ends this command at once: there is nothing to save.
    let score = evaluator.run(executor, data, Split::Test, &AtomicBool::new(false))?;
    let score = score.expect("nobody sets the flag");
    Ok((score.accuracy, score.loss))
}

fn table(lines: &[Line]) -> String {
    let header = [
        "task",
        "model",
        "gap steps",
        "samples",
        "accuracy",
        "chance",
        "ceiling",
        "loss",
    ];
    let mut table = plain_table(&header, 2);
    for line in lines {
        let percent = |x: f64| format!("{:.2} %", 100.0 * x);
        table.add_row([
            line.task.clone(),
            line.model.clone(),
            line.gap_steps.to_string(),
            line.samples.to_string(),
            percent(line.accuracy),
            percent(line.chance),
            percent(line.ceiling),
            format!("{:.4}", line.loss),
        ]);
    }
    table.trim_fmt()
}

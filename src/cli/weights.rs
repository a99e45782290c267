//! `selectiv weights`: a run's weights out to a file, and a file's weights in as a run.

use super::common::{Common, Verbosity};
use super::print;
use super::train::overrides;
use crate::config::{Config, task_name};
use crate::error::Result;
use crate::train::checkpoint::Checkpoint;
use crate::train::{Counters, State, folder, setup, weights};
use clap::{Args, Subcommand};
use std::collections::HashMap;
use std::path::PathBuf;

/// Arguments of `selectiv weights`.
#[derive(Debug, Clone, Args)]
pub struct WeightsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Write the weights of a run under the reference implementation's names
    Export(ExportArgs),
    /// Make a run's folder from weights under the reference implementation's names
    Import(Box<ImportArgs>),
}

#[derive(Debug, Clone, Args)]
struct ExportArgs {
    /// Folder of a run
    dir: PathBuf,
    /// File to write
    #[arg(value_name = "FILE.safetensors")]
    file: PathBuf,
}

#[derive(Debug, Clone, Args)]
struct ImportArgs {
    /// Weights: F64, F32, F16 or BF16
    #[arg(value_name = "FILE.safetensors")]
    file: PathBuf,
    /// Model; left out where model.layers lists blocks
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Folder of the run to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Task file, or the name of a built-in one, that gives the sizes and what the run is tested on
    #[arg(long, value_name = "TASK.toml", default_value = "task1")]
    task: PathBuf,
    /// Width
    #[arg(long, value_name = "W")]
    d_model: Option<String>,
    /// Number of layers
    #[arg(long, value_name = "L")]
    layers: Option<String>,
    /// Seed of grammar, data and weights
    #[arg(long)]
    seed: Option<String>,
    /// Any other field of the task file
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

/// Exports or imports.
///
/// # Errors
/// [`UserError`](crate::error::UserError) if the folder holds no run or is in use, or the file does not hold the
/// model's weights: nothing has been written then. Otherwise the file system's.
pub fn run(args: &WeightsArgs, common: &Common) -> Result<()> {
    let verbosity = common.verbosity();
    match &args.command {
        Command::Export(args) => export(args, verbosity),
        Command::Import(args) => import(args),
    }
}

fn export(args: &ExportArgs, verbosity: Verbosity) -> Result<()> {
    let (_, saved) = folder::read_run(&args.dir, &mut |text| verbosity.say(text))?;
    let metadata = [
        ("model", saved.state.model.clone()),
        ("task", saved.state.task.clone()),
        ("step", saved.step.to_string()),
        ("selectiv", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    let metadata: HashMap<String, String> = metadata.map(|(key, value)| (key.to_owned(), value)).into();
    weights::export(&args.file, &saved.weights, metadata)?;
    let values: usize = saved
        .weights
        .params
        .iter()
        .map(|(_, _, values)| values.len())
        .sum();
    print::result(&format!(
        "{}: {} tensors, {values} parameters of {} after {} updates",
        args.file.display(),
        saved.weights.params.len(),
        saved.state.model,
        saved.step
    ))
}

fn import(args: &ImportArgs) -> Result<()> {
    let flags = [
        ("model.d_model", &args.d_model),
        ("model.layers", &args.layers),
        ("seed", &args.seed),
    ];
    let config = Config::load(&args.task, &overrides(&args.set, &flags)?)?;
    let data = setup::data_set(&config)?;
    let model = setup::model(&config, args.model.as_deref(), data.grammar())?;
    let name = model.name();
    let graph = model.eval_net(1, 1, 1)?.graph;
    let weights = weights::import(&args.file, &graph)?;
    folder::refuse_used(&args.out)?;

    let state = State {
        task: task_name(&args.task),
        model: name.clone(),
        device: String::new(),
        counters: Counters::default(),
    };
    let checkpoint = Checkpoint {
        step: 0,
        params: weights.params,
        moment1: weights.moment1,
        moment2: weights.moment2,
        config_hash: config.hash(),
        state: serde_json::to_value(state).expect("names and numbers have a JSON form"),
    };
    let from = format!("weights of {}", args.file.display());
    folder::create_from(&args.out, &config, &name, &from, &checkpoint)?;
    print::result(&format!(
        "{}: {} parameters of {}; test them with: selectiv eval {}",
        args.out.display(),
        graph.param_count(),
        name,
        args.out.display()
    ))
}

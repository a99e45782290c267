//! `selectiv weights`: a run's weights out to a file, and a file's weights in as a run.

use super::common::{Common, Verbosity};
use super::inspect::counted;
use super::print;
use super::train::overrides;
use crate::config::{Config, GrammarConfig, fingerprint, task_name};
use crate::error::{Error, Result};
use crate::tensor::Precision;
use crate::train::checkpoint::Checkpoint;
use crate::train::weights::WeightsFile;
use crate::train::{Counters, Existing, State, Target, folder, setup, weights};
use clap::{Args, Subcommand};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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
    /// Overwrite a file that is there
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Clone, Args)]
struct ImportArgs {
    /// Weights: F64, F32, F16 or BF16
    #[arg(value_name = "FILE.safetensors")]
    file: PathBuf,
    /// Model; default: the one that the file names
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Folder of the run to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Task file, or the name of a built-in one, that says what the run is tested on, and the sizes where the file does
    /// not; default: the task of the run that the weights are from
    #[arg(long, value_name = "TASK.toml")]
    task: Option<PathBuf>,
    /// Width
    #[arg(long, value_name = "W", allow_negative_numbers = true)]
    d_model: Option<String>,
    /// Number of layers
    #[arg(long, value_name = "L", allow_negative_numbers = true)]
    layers: Option<String>,
    /// Seed of grammar, data and weights
    #[arg(long, allow_negative_numbers = true)]
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
        Command::Import(args) => import(args, verbosity),
    }
}

fn export(args: &ExportArgs, verbosity: Verbosity) -> Result<()> {
    let (config, saved) = folder::read_run(&args.dir, &mut |text| verbosity.say(text))?;
    let existing = match args.force {
        true => Existing::Replaced,
        false => Existing::Kept("--force overwrites it"),
    };
    let target = Target::new(&args.file, existing, [&*args.dir])?;
    let data = setup::data_set(&config)?;
    let precision = config
        .run
        .as_ref()
        .and_then(|run| run.precision)
        .unwrap_or_default();
    let names = [saved.state.task.as_str(), &saved.state.model];
    let kept = setup::kept(&config, names, precision, &data);
    let mut metadata = BTreeMap::from([
        ("model", saved.state.model.clone()),
        ("task", saved.state.task.clone()),
        ("step", saved.step.to_string()),
        ("selectiv", env!("CARGO_PKG_VERSION").to_owned()),
        (weights::CONFIG_KEY, kept.to_toml("")),
    ]);
    if let GrammarConfig::File { .. } = config.grammar {
        let grammar = data.grammar().to_json(config.data.length).to_string();
        metadata.insert(weights::GRAMMAR_KEY, grammar);
    }
    weights::export(&target, &saved.weights, &metadata)?;
    let values: usize = saved
        .weights
        .params
        .iter()
        .map(|(_, _, values)| values.len())
        .sum();
    let done = format!(
        "{}: {} tensors, {values} parameters of {} after {}",
        args.file.display(),
        saved.weights.params.len(),
        saved.state.model,
        counted(saved.step, "update")
    );
    verbosity.written(&target, &done)
}

fn import(args: &ImportArgs, verbosity: Verbosity) -> Result<()> {
    let flags = [
        ("model.d_model", &args.d_model),
        ("model.layers", &args.layers),
        ("seed", &args.seed),
    ];
    let given = overrides(&args.set, &flags)?;
    let file = WeightsFile::read(&args.file)?;
    let own = Described::read(&file, &args.file)?;
    let (config, task) = match (&args.task, &own) {
        (None, Some(own)) => {
            let config = own.load(&given)?;
            let task = config.run.as_ref().and_then(|run| run.task.clone());
            (config, task.unwrap_or_else(|| "imported".to_owned()))
        }
        (task, own) => {
            let task = task.clone().unwrap_or_else(|| PathBuf::from("task1"));
            // The file knows its sizes best, the command line what is wanted.
            let mut fields = own.as_ref().map_or(Ok(Vec::new()), |own| {
                Ok::<_, Error>(own.load(&[])?.model_fields())
            })?;
            fields.extend(given);
            (Config::load(&task, &fields)?, task_name(&task))
        }
    };
    let data = setup::data_set(&config)?;
    let name = args.model.as_deref().or(file.metadata("model"));
    let model = setup::model(&config, name, data.grammar())?;
    let name = model.name();
    let graph = model.eval_net(1, 1, 1)?.graph;
    let no_task = format!(
        "they are not those of {name} for task1, and the file does not say which model it holds; give --task with the \
         task file that it was trained on"
    );
    let other_model = file
        .metadata("model")
        .filter(|holds| *holds != name)
        .map(|holds| {
            format!("they are not those of {name}: the file says that it holds {holds}; leave --model out")
        });
    let hint = other_model.or_else(|| (args.task.is_none() && own.is_none()).then_some(no_task));
    let weights = file.weights(&graph, hint.as_deref(), &mut |text| verbosity.say(text))?;
    folder::refuse_used(&args.out)?;

    let kept = setup::kept(&config, [&task, &name], Precision::F32, &data);
    let config = kept.to_toml("");
    let state = State {
        task,
        model: name.clone(),
        device: String::new(),
        config: config.clone(),
        counters: Counters::default(),
    };
    let checkpoint = Checkpoint {
        step: 0,
        params: weights.params,
        moment1: weights.moment1,
        moment2: weights.moment2,
        config_hash: fingerprint(&config),
        state: serde_json::to_value(state).expect("names and numbers have a JSON form"),
    };
    let from = format!("weights of {}", args.file.display());
    folder::create_from(&args.out, &kept, data.grammar(), &from, &checkpoint)?;
    print::result(&format!(
        "{}: {} parameters of {}; test them with: selectiv eval {}",
        args.out.display(),
        graph.param_count(),
        name,
        args.out.display()
    ))
}

/// What a file says of the run that its weights are from, laid out as that run's folder is.
struct Described {
    folder: tempfile::TempDir,
    place: String,
    text: String,
}

impl Described {
    fn read(file: &WeightsFile, path: &Path) -> Result<Option<Self>> {
        let Some(text) = file.metadata(weights::CONFIG_KEY) else {
            return Ok(None);
        };
        let failed = |source| Error::Io {
            action: "write",
            path: std::env::temp_dir(),
            source,
        };
        let folder = tempfile::tempdir().map_err(failed)?;
        if let Some(grammar) = file.metadata(weights::GRAMMAR_KEY) {
            std::fs::write(folder.path().join(setup::GRAMMAR_FILE), grammar).map_err(failed)?;
        }
        Ok(Some(Self {
            folder,
            place: format!("{} (its `{}`)", path.display(), weights::CONFIG_KEY),
            text: text.to_owned(),
        }))
    }

    fn load(&self, overrides: &[(String, String)]) -> Result<Config> {
        Config::from_text(self.place.clone(), self.folder.path(), &self.text, overrides)
    }
}

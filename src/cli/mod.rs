//! The command line: arguments, progress and printing.

pub mod bench;
mod by;
pub mod check;
pub mod common;
pub mod data;
pub mod devices;
pub mod eval;
pub mod grammar;
mod inspect;
pub mod manual;
pub mod models;
mod number;
mod print;
mod progress;
pub mod report;
pub mod runs;
mod signals;
pub mod sweep;
pub mod train;
pub mod weights;

use crate::error::{DeviceError, Error, Result};
use clap::{Parser, Subcommand};
use common::Common;

/// Exit code of a process that found no memory.
const OUT_OF_MEMORY: i32 = 3;

/// What `--version` prints.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("SELECTIV_COMMIT"),
    ", wgpu ",
    env!("SELECTIV_WGPU"),
    ", naga ",
    env!("SELECTIV_NAGA"),
    ")"
);

/// Trains, tests and benchmarks linear recurrent models on any GPU, and on the CPU
#[derive(Debug, Parser)]
#[command(name = "selectiv", version = VERSION, max_term_width = 80)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train one model on one task, and test it
    Train(Box<train::TrainArgs>),
    /// Test a trained run
    Eval(eval::EvalArgs),
    /// Run a grid of tasks, models, sizes and seeds, and say what came out
    Sweep(Box<sweep::SweepArgs>),
    /// Write one page of runs, sweeps, benches and checks
    Report(report::ReportArgs),
    /// List runs: model, task, state, accuracy between chance and ceiling, age
    Runs(runs::RunsArgs),
    /// Prove on this device that ops, models and grammars are right
    Check(check::CheckArgs),
    /// Time kernels and whole steps against what this device does at best
    Bench(Box<bench::BenchArgs>),
    /// List what there is to run on
    Devices(devices::DevicesArgs),
    /// List the models: taxonomy, parameters, gate parameters
    Models(models::ModelsArgs),
    /// Exchange weights with the reference implementation
    Weights(weights::WeightsArgs),
    /// Make a grammar and sequences from it
    Grammar(grammar::GrammarArgs),
    /// Look at samples, take them out to a file and back
    Data(data::DataArgs),
    /// Print a completion script for a shell
    Completions(manual::CompletionsArgs),
    /// Print a page of the manual, or write them all
    Man(manual::ManArgs),
}

/// What the machine has to give before anything runs: threads to compute on, and an end in order where memory that nobody
/// could ask for is not there. An allocation that fails aborts the process: that is the machine's failure too.
fn prepare() -> Result<()> {
    signals::abort_ends_in_order(OUT_OF_MEMORY).map_err(|source| Error::Io {
        action: "listen for",
        path: "SIGABRT".into(),
        source,
    })?;
    rayon::ThreadPoolBuilder::new().build_global().map_err(|e| {
        DeviceError::Threads {
            reason: e.to_string(),
        }
        .into()
    })
}

/// Runs the program with the arguments of the process and returns its exit code.
pub fn run() -> i32 {
    print::begin();
    signals::files_too_large_are_errors();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(asked) => return end(answer(&asked).map(|()| asked.exit_code())),
    };
    if let Err(e) = prepare() {
        return end(Err(e));
    }
    let common = &cli.common;
    let good = |done: bool| i32::from(!done);
    let done = |()| 0;
    let on_none = |run: &dyn Fn() -> Result<()>| common.refuse_nonsense().and_then(|()| run()).map(done);
    end(match cli.command {
        Command::Train(args) => train::run(&args, common).map(done),
        Command::Eval(args) => eval::run(&args, common).map(good),
        Command::Sweep(args) => sweep::run(&args, common),
        Command::Report(args) => report::run(&args, common).map(done),
        Command::Runs(args) => runs::run(&args, common).map(done),
        Command::Check(args) => check::run(&args, common).map(good),
        Command::Bench(args) => bench::run(&args, common).map(done),
        Command::Devices(args) => devices::run(&args, common).map(done),
        Command::Models(args) => on_none(&|| models::run(&args, common)),
        Command::Weights(args) => on_none(&|| weights::run(&args, common)),
        Command::Grammar(args) => on_none(&|| grammar::run(&args)),
        Command::Data(args) => on_none(&|| data::run(&args, common)),
        Command::Completions(args) => manual::completions(&args).map(done),
        Command::Man(args) => manual::man(&args).map(done),
    })
}

/// Says what went wrong.
fn end(outcome: Result<i32>) -> i32 {
    outcome.unwrap_or_else(|e| {
        print::message(&format!("error: {e}"));
        e.exit_code()
    })
}

/// Help and version go to standard output, what is wrong with the arguments to standard error.
fn answer(asked: &clap::Error) -> Result<()> {
    if asked.use_stderr() {
        // As with every message, nothing is lost if nobody reads it.
        let _ = asked.print();
        return Ok(());
    }
    print::result(asked.render().to_string().trim_end())
}

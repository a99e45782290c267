//! The command line: arguments, progress and printing.

pub mod bench;
pub mod check;
pub mod device;
pub mod devices;
pub mod eval;
pub mod grammar;
mod inspect;
pub mod models;
mod progress;
mod signals;
pub mod train;
pub mod weights;

use crate::error::{DeviceError, Error, Result};
use clap::{Parser, Subcommand};
use signal_hook::consts::SIGABRT;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

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
#[command(name = "selectiv", version = VERSION)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train one model on one task, and test it
    Train(Box<train::TrainArgs>),
    /// Test a trained run
    Eval(eval::EvalArgs),
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
}

/// What the machine has to give before anything runs: threads to compute on, and an end in order where memory that nobody
/// could ask for is not there. An allocation that fails aborts the process: that is the machine's failure too.
fn prepare() -> Result<()> {
    let failed = |source| Error::Io {
        action: "listen for",
        path: "SIGABRT".into(),
        source,
    };
    signal_hook::flag::register_conditional_shutdown(SIGABRT, OUT_OF_MEMORY, Arc::new(AtomicBool::new(true)))
        .map_err(failed)?;
    rayon::ThreadPoolBuilder::new().build_global().map_err(|e| {
        DeviceError::Threads {
            reason: e.to_string(),
        }
        .into()
    })
}

/// Runs the program with the arguments of the process and returns its exit code.
pub fn run() -> i32 {
    let command = Cli::parse().command;
    if let Err(e) = prepare() {
        eprintln!("error: {e}");
        return e.exit_code();
    }
    let done = match command {
        Command::Train(args) => train::run(&args),
        Command::Eval(args) => match eval::run(&args) {
            Ok(false) => return 1,
            done => done.map(drop),
        },
        Command::Check(args) => match check::run(&args) {
            Ok(false) => return 1,
            done => done.map(drop),
        },
        Command::Bench(args) => bench::run(&args),
        Command::Devices(args) => devices::run(&args),
        Command::Models(args) => models::run(&args),
        Command::Weights(args) => weights::run(&args),
        Command::Grammar(args) => grammar::run(&args),
    };
    match done {
        Ok(()) => 0,
        Err(e) => {
            eprintln!("error: {e}");
            e.exit_code()
        }
    }
}

/// Prints a result to standard output. A reader that has closed its end is no error.
fn print_result(text: &str) -> Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Error::Io {
            action: "write",
            path: "standard output".into(),
            source: e,
        }),
        _ => Ok(()),
    }
}

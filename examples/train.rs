//! A small training run from Rust: a Gated DeltaNet learns a small grammar of Task 1, and is tested.
//!
//! ```text
//! cargo run --release --example train            # on the CPU: a few seconds
//! cargo run --release --example train -- auto    # on the best GPU here; or gpu:N
//! ```
//!
//! What `selectiv train` does beyond this (evaluations on the way, checkpoints, resuming, records) is
//! `selectiv::train::Session`.

#![allow(clippy::disallowed_macros, reason = "an example prints what it finds")]

use selectiv::config::default_warmup;
use selectiv::error::Result;
use selectiv::models::{self, ModelConfig};
use selectiv::tasks::{Counted, DataSet, DataSpec, Gap, Grammar, GrammarSpec, Split, Splits};
use selectiv::train::{Evaluator, Executor, Recipe, Schedule, Stepper};
use std::sync::Arc;

/// Updates.
const STEPS: u64 = 120;
/// Samples of an update.
const BATCH: usize = 32;
/// Updates between two lines of output.
const SAY_EVERY: u64 = 20;

fn main() -> Result<()> {
    let device = std::env::args().nth(1).unwrap_or_else(|| "cpu".to_owned());
    run(&device, &mut |line| println!("{line}"))
}

/// Trains and tests on a device. Every line that the program prints goes to `print`.
pub(crate) fn run(device: &str, print: &mut dyn FnMut(&str)) -> Result<()> {
    // An automaton with eight letters besides the terminator `#`. Each stands for six states, which only the symbols
    // before it tell apart: 49 states, which are the classes.
    let grammar = Grammar::generate(&GrammarSpec {
        vocab: 9,
        ambiguities: 8,
        depth: 6,
        seed: 1,
    })?;
    // Streams of its own for each split: no test sample is drawn from the training samples' stream. An empty time step
    // after each symbol: a sample has 64 steps.
    let samples = [STEPS * BATCH as u64, 0, 200];
    let spec = DataSpec::plain(32, Splits::Disjoint, samples, Gap::Fixed(1));
    let data = Arc::new(DataSet::new(Arc::new(grammar), spec, 1)?);

    // Two layers of 32 channels; heads, state and the rest as in the paper.
    let (vocab, classes) = (data.grammar().vocab(), data.grammar().classes());
    let model = ModelConfig {
        dropout: 0.0,
        ..ModelConfig::new(models::block("gated_delta_net")?, 2, 32, vocab, classes)
    };
    let recipe = Recipe {
        schedule: Schedule {
            lr: 1e-2,
            warmup: default_warmup(STEPS) as f64,
            steps: STEPS,
            floor: 0.0,
        },
        clip: 1.0,
        dropout_until: u64::MAX,
        seed: 1,
        batch: BATCH,
    };
    let executor = Executor::open(device, print)?;
    let extents = [data.max_steps(Split::Train), data.spec().length];
    // As many samples at a time as the device has room for: nothing is forced here.
    let mut stepper = Stepper::new(executor, &model, recipe, extents, None, print)?;
    let params = stepper.train_net().0.graph.param_count();
    print(&format!(
        "{}: {params} parameters, {classes} classes",
        model.name()
    ));

    for step in 0..STEPS {
        // A long run lets a `tasks::Loader` make the batches ahead, on threads of its own.
        let batch = data.batch(Split::Train, step * BATCH as u64, BATCH);
        stepper.step(step, &batch)?;
        // An update is queued, not waited for: its numbers arrive some updates later.
        let mut reports = stepper.collect()?;
        if step + 1 == STEPS {
            reports.extend(stepper.drain()?);
        }
        for report in reports {
            let done = report.step + 1;
            if done.is_multiple_of(SAY_EVERY) || done == 1 {
                let accuracy = 100.0 * report.correct / report.windows;
                let loss = report.loss;
                print(&format!(
                    "update {done:4}   loss {loss:.4}   accuracy {accuracy:6.2} %"
                ));
            }
        }
    }

    // The evaluator's graph shares the parameters that were just trained on this executor.
    let mut evaluator = Evaluator::new(&mut stepper.executor, &model, &data, Split::Test)?;
    let test = evaluator
        .run(&mut stepper.executor, &data, Split::Test, &mut |_, _| true)?
        .expect("nobody stops it");
    let baselines = data.statistics(u64::MAX, &Counted::default());
    print(&format!(
        "on {} test symbols: loss {:.4}",
        test.windows, test.loss
    ));
    for (name, accuracy) in [
        ("chance", baselines.chance),
        ("always the same class", baselines.constant),
        ("unigram predictor", baselines.n1),
        ("bigram predictor", baselines.n2),
        ("this model", test.accuracy),
        ("ideal observer", baselines.ceiling),
    ] {
        print(&format!("{name:21} {:6.2} %", 100.0 * accuracy));
    }
    Ok(())
}

//! A small sweep in memory, for the tests of this room.

use super::run::{Run, State};
use super::source::{Material, SweepFolder};
use crate::config::Config;
use crate::sweep::{Details, GapTest, Tested};
use crate::tasks::Gap;
use crate::train::explain::{Confused, Explained, Slice};
use crate::train::records::{Metrics, RunResult};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// Three models on two grammars with three seeds: accuracies 1 point apart around 90, 75.5 and 70 %, 20 less on the larger
/// grammar.
pub(crate) fn material() -> Material {
    let mut runs = Vec::new();
    for (grammar, less) in [([9, 6, 4], 0.0), ([13, 12, 8], 0.2)] {
        for (model, accuracy) in [("gated_delta_net", 0.90), ("gla", 0.755), ("transformer", 0.70)] {
            for seed in 1..=3_u64 {
                runs.push(run(
                    grammar,
                    model,
                    seed,
                    accuracy - less + 0.005 * (seed as f64 - 2.0),
                ));
            }
        }
    }
    Material {
        sweeps: vec![SweepFolder {
            path: PathBuf::from("grid"),
            select: Vec::new(),
            runs: runs.len(),
        }],
        runs,
        ..Material::default()
    }
}

fn run([vocab, ambiguities, depth]: [u32; 3], model: &str, seed: u64, accuracy: f64) -> Run {
    let text = format!(
        "[grammar]\nvocab = {vocab}\nambiguities = {ambiguities}\ndepth = {depth}\nseed = {seed}\n[data]\nlength = 12\n\
         train = 600\nvalidation = 30\ntest = 30\n[model]\nd_model = 16\nlayers = 2\nheads = 2\n[train]\nseed = {seed}\n\
         batch = 12\nlr = 0.01\nwarmup = 5\n"
    );
    let config = Config::from_text("tiny.toml".to_owned(), Path::new(""), &text, &[]).unwrap();
    let classes = f64::from(ambiguities * depth + (vocab - 1 - ambiguities) + 1);
    let id = format!("tiny-{model}-vocab={vocab}-seed={seed}");
    let metrics = |i: u64| Metrics {
        step: 5 * i,
        tokens: Some(120 * i),
        loss: 3.0 / (1.0 + i as f64),
        accuracy: Some(accuracy * i as f64 / 10.0),
        validation_loss: Some(3.1 / (1.0 + i as f64)),
        train_accuracy: Some(accuracy * i as f64 / 10.0),
        lr: 0.01,
        grad_norm: 1.0,
        tokens_per_s: 1200.0,
    };
    let result = RunResult {
        task: "tiny".to_owned(),
        model: model.to_owned(),
        params: 10_000,
        d_model: 16,
        layers: 2,
        seed,
        lr: 0.01,
        steps: 50,
        loss: 0.5,
        accuracy,
        chance: 1.0 / classes,
        ceiling: 0.99,
        device: "cpu".to_owned(),
        precision: "f32".to_owned(),
        wall_s: 2.0,
        steps_per_s: 25.0,
        tokens_per_s: 1200.0,
        peak_bytes: 1 << 20,
        baseline_constant: 0.1,
        baseline_n1: 0.2,
        baseline_n2: 0.3,
        kl: None,
        blocks: vec![model.to_owned(); 2],
        sizes: serde_json::Map::new(),
        variants: Default::default(),
        skipped: None,
    };
    let slices = |n: u32| -> Vec<Slice> {
        let slice = |at| Slice {
            at,
            elements: 100,
            correct: (100.0 * accuracy) as u64 - u64::from(at),
        };
        (1..=n).map(slice).collect()
    };
    let gate = |layer: usize, gate: &str, head: usize| {
        json!({ "layer": layer, "block": model, "gate": gate, "head": head, "symbols": 0.5 + 0.1 * head as f64,
                "gaps": 0.9 })
    };
    let gates: Vec<serde_json::Value> = (0..2)
        .flat_map(|layer| ["decay", "readout"].map(|name| (layer, name)))
        .flat_map(|(layer, name)| [0, 1].map(|head| gate(layer, name, head)))
        .collect();
    let tested = Tested {
        loss: 0.5,
        accuracy,
        kl: None,
    };
    let details = Details {
        commit: "abc1234".to_owned(),
        validation: Some(tested),
        tests: vec![GapTest {
            gap: Gap::Fixed(1),
            tested,
            explained: Explained {
                by_position: slices(8),
                by_symbol: slices(vocab - 1),
                by_distance: slices(4),
                by_gap: slices(1),
                confusion: vec![vec![1; vocab as usize]; vocab as usize],
                confused: vec![Confused {
                    class: 1,
                    answer: 2,
                    elements: 7,
                }],
            },
        }],
        gates: gates.into(),
    };
    Run {
        folder: Path::new("grid").join(&id),
        id,
        task: "tiny".to_owned(),
        model: model.to_owned(),
        config,
        params: Some(10_000),
        state_bytes: Some(2048),
        state: State::Done,
        result: Some(result),
        details: Some(details),
        metrics: (1..=10).map(metrics).collect(),
        selected: None,
        commit: Some("abc1234".to_owned()),
        written: Some(UNIX_EPOCH + Duration::from_secs(1_795_737_600)),
    }
}

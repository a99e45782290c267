//! Training in mixed precision as a whole: it learns, says so, and keeps its precision.

use crate::common::skipped::skipped;
use crate::common::{Folder, TASK};
use assert_cmd::Command;
use selectiv::gpu::adapter;
use selectiv::models::{BLOCKS, ModelConfig};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;

struct Place {
    folder: Folder,
    device: String,
    /// It computes on the CPU and takes long to compile.
    software: bool,
}

impl Place {
    /// With the first adapter that has 16-bit floats, for a test.
    fn new(test: &str) -> Option<Self> {
        let mut all = adapter::adapters().into_iter().enumerate();
        let Some((at, found)) = all.find(|(_, a)| adapter::caps(a).f16) else {
            skipped(test, "no GPU adapter with 16-bit floats");
            return None;
        };
        Some(Self {
            folder: Folder::new(&[("tiny.toml", TASK)]),
            device: format!("gpu:{at}"),
            software: !adapter::is_hardware(&found),
        })
    }

    fn train(&self, out: &str, args: &[&str]) -> Command {
        self.train_on(&self.device, out, args)
    }

    fn train_on(&self, device: &str, out: &str, args: &[&str]) -> Command {
        let mut command = self.folder.selectiv();
        command
            .args(["train", "tiny.toml", "--device", device, "--out", out])
            .args(["--set", "train.checkpoint_every=4", "--set", "train.dropout=0.0"])
            .args(args);
        command
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path(name)).unwrap()
    }
}

fn result(command: &mut Command) -> Value {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(stdout.lines().last().unwrap()).unwrap()
}

/// The last line of what it says, and its exit code.
fn refusal(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = stderr.lines().last().unwrap_or_default().to_owned();
    (output.status.code().unwrap(), line)
}

#[test]
fn a_run_says_and_keeps_its_precision_and_continues_bit_for_bit() {
    let Some(place) = Place::new("a_run_says_and_keeps_its_precision_and_continues_bit_for_bit") else {
        return;
    };
    let args = ["--model", "gla", "--steps", "20"];
    let mixed = [&args[..], &["--precision", "mixed"]].concat();
    let whole = result(&mut place.train("whole", &mixed));
    assert_eq!(
        (whole["precision"].as_str(), whole["skipped"].as_u64()),
        (Some("mixed"), Some(0))
    );
    assert!(place.read("whole/config.toml").contains("precision = \"mixed\""));
    assert!(place.read("whole/curve.svg").contains("mixed precision"));
    let first: Value =
        serde_json::from_str(place.read("whole/metrics.jsonl").lines().next().unwrap()).unwrap();
    assert!(whole["loss"].as_f64() < first["loss"].as_f64(), "{first} {whole}");

    let again = result(&mut place.train("again", &mixed));
    assert_eq!(again["loss"], whole["loss"], "other bits the second time");

    // From the checkpoint after 16 updates, as if it had been stopped there.
    result(&mut place.train("parts", &mixed));
    for name in ["result.json", "checkpoint-00000020.safetensors"] {
        fs::remove_file(place.folder.path("parts").join(name)).unwrap();
    }
    let f32 = [&args[..], &["--precision", "f32", "--resume"]].concat();
    let (code, line) = refusal(&mut place.train("parts", &f32));
    assert_eq!(code, 2, "{line}");
    assert!(line.contains("precision = mixed, not f32"), "{line}");
    let parts = result(&mut place.train("parts", &[&args[..], &["--resume"]].concat()));
    assert_eq!(parts["loss"], whole["loss"]);
    assert_eq!(parts["precision"], "mixed");
    let saved = |run: &str| {
        let file = place.folder.path(run).join("checkpoint-00000020.safetensors");
        let saved = selectiv::train::checkpoint::load(&file).unwrap();
        let scale = saved.state["counters"]["loss_scale"].clone();
        (saved.params, saved.moment1, saved.moment2, scale)
    };
    assert!(saved("parts") == saved("whole"), "other weights");
    assert_eq!(saved("parts").3["since"], 20.0);
}

/// Where kernels take long to compile, models whose ops others have too are left out: the ops' own tests have their kernels.
#[test]
fn every_model_trains_in_mixed_precision_as_in_f32() {
    let Some(place) = Place::new("every_model_trains_in_mixed_precision_as_in_f32") else {
        return;
    };
    let mut met = BTreeSet::new();
    for block in BLOCKS {
        let name = block.name();
        let config = ModelConfig::new(*block, 1, 16, 9, 9);
        let net = config.train_net(1, 8, 4).unwrap();
        let ops: BTreeSet<_> = net.graph.calls().iter().map(|call| call.op.name()).collect();
        if place.software && ops.is_subset(&met) {
            continue;
        }
        met.extend(ops);
        // The CPU's f32 is the GPU's within 1e-4, and has nothing to compile.
        let losses = [("cpu", "f32"), (place.device.as_str(), "mixed")].map(|(device, precision)| {
            let out = format!("{name}-{precision}");
            let args = ["--model", name, "--steps", "10", "--precision", precision];
            let found = result(&mut place.train_on(device, &out, &args));
            assert_eq!(found["precision"], precision);
            found["loss"].as_f64().unwrap()
        });
        // Ten updates from the same start: weights differ by the rounding of gradients, 1e-3 of them.
        let apart = (losses[1] / losses[0] - 1.0).abs();
        assert!(apart < 5e-3, "{name}: {losses:?}");
    }
}

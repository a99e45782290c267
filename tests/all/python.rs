//! The snippets of `docs/from-python.md`, and TensorBoard's own reading of a run: each where Python has what it imports.

use crate::common::skipped::skipped;
use assert_cmd::Command;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// The interpreter: `$PYTHON`, or `python3`.
fn python() -> String {
    std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

/// The Python blocks of the page, in its order.
fn snippets() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/from-python.md");
    let page = fs::read_to_string(path).unwrap();
    page.split("```python\n")
        .skip(1)
        .map(|rest| rest.split_once("```").unwrap().0.to_owned())
        .collect()
}

/// The modules that a snippet imports.
fn imports(snippet: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in snippet.lines() {
        let names = match (line.strip_prefix("import "), line.strip_prefix("from ")) {
            (Some(names), _) => names.split(',').map(str::trim).collect(),
            (None, Some(rest)) => vec![rest.split(' ').next().unwrap()],
            _ => Vec::new(),
        };
        found.extend(
            names
                .into_iter()
                .map(|name| name.split(' ').next().unwrap().to_owned()),
        );
    }
    found
}

/// Runs a script in a folder; `None` where Python or a module is missing, which is said.
fn run(test: &str, folder: &Path, script: &str) -> Option<String> {
    for module in imports(script) {
        let found = std::process::Command::new(python())
            .args(["-c", &format!("import {module}")])
            .current_dir(folder)
            .output();
        if !found.is_ok_and(|output| output.status.success()) {
            skipped(test, &format!("{} has no module {module}", python()));
            return None;
        }
    }
    let output = std::process::Command::new(python())
        .args(["-c", script])
        .current_dir(folder)
        .env("TRACKIO_DIR", folder.join("trackio"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{test}\n{script}\n{said}\n{wrong}");
    Some(said)
}

fn selectiv(folder: &Path, args: &[&str]) {
    let mut command = Command::cargo_bin("selectiv").unwrap();
    command
        .current_dir(folder)
        .env("XDG_RUNTIME_DIR", folder)
        .args(args);
    command.assert().success();
}

/// The repository's small sweep made smaller, under the names that the page uses.
fn place() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let tasks = Path::new(env!("CARGO_MANIFEST_DIR")).join("tasks/sweeps");
    fs::create_dir_all(dir.path().join("tasks/sweeps")).unwrap();
    for name in ["quick.toml", "quick-task.toml"] {
        let text = fs::read_to_string(tasks.join(name)).unwrap();
        let smaller = text
            .replace("train = 6400", "train = 640")
            .replace("[2e-3, 5e-3]", "[5e-3]")
            .replace("eval_every = 25", "eval_every = 5");
        fs::write(dir.path().join("tasks/sweeps").join(name), smaller).unwrap();
    }
    dir
}

#[test]
fn tables_figures_and_trackers_read_a_sweep() {
    let dir = place();
    let snippets = snippets();
    assert_eq!(
        snippets.len(),
        5,
        "docs/from-python.md has a snippet that no test runs"
    );
    selectiv(
        dir.path(),
        &[
            "sweep",
            "tasks/sweeps/quick.toml",
            "--out",
            "runs/quick",
            "--device",
            "cpu",
            "-q",
        ],
    );
    if let Some(said) = run("pandas and matplotlib", dir.path(), &snippets[0]) {
        assert!(said.contains("gated_delta_net") && said.contains("std"), "{said}");
        assert!(dir.path().join("curves.pdf").is_file());
    }
    if let Some(said) = run("explained.json", dir.path(), &snippets[1]) {
        assert!(said.contains("accuracy"), "{said}");
    }
    run("trackers", dir.path(), &snippets[4]);
}

#[test]
fn torch_trains_on_exported_samples_and_its_weights_come_back() {
    let dir = place();
    let snippets = snippets();
    selectiv(
        dir.path(),
        &[
            "data",
            "export",
            "tasks/sweeps/quick-task.toml",
            "--out",
            "samples.safetensors",
            "--dense",
            "--limit",
            "640",
        ],
    );
    if let Some(said) = run("a model of torch", dir.path(), &snippets[2]) {
        let accuracy: f64 = said.split_whitespace().nth(2).unwrap().parse().unwrap();
        // Chance is 1 %.
        assert!(accuracy > 0.05, "{said}");
    }
    selectiv(
        dir.path(),
        &[
            "train",
            "tasks/sweeps/quick-task.toml",
            "--model",
            "gated_delta_net",
            "--steps",
            "2",
            "--out",
            "run",
            "--device",
            "cpu",
            "-q",
        ],
    );
    selectiv(dir.path(), &["weights", "export", "run", "run.safetensors"]);
    let to_pth = "import torch\nfrom safetensors.torch import load_file\ntorch.save(load_file('run.safetensors'), \
                  'reference.pth')\n";
    if run("a .pth", dir.path(), to_pth).is_some() {
        run("a .pth to safetensors", dir.path(), &snippets[3]).unwrap();
        selectiv(
            dir.path(),
            &[
                "weights",
                "import",
                "reference.safetensors",
                "--model",
                "gated_delta_net",
                "--task",
                "tasks/sweeps/quick-task.toml",
                "--out",
                "runs/imported",
            ],
        );
        selectiv(dir.path(), &["eval", "runs/imported", "--device", "cpu", "-q"]);
    }
}

#[test]
fn tensorboard_reads_scalars_texts_and_hparams() {
    let dir = place();
    selectiv(
        dir.path(),
        &[
            "train",
            "tasks/sweeps/quick-task.toml",
            "--model",
            "gla",
            "--steps",
            "12",
            "--set",
            "train.checkpoint_every=5",
            "--out",
            "run",
            "--device",
            "cpu",
            "-q",
        ],
    );
    // Stopped after its newest checkpoint: the lines behind it are void, and come again.
    let whole = dir.path().join("run/checkpoint-00000012.safetensors");
    fs::remove_file(whole).unwrap();
    fs::remove_file(dir.path().join("run/result.json")).unwrap();
    let resume = ["train", "run", "--resume", "--device", "cpu", "-q"];
    selectiv(dir.path(), &resume);
    let script = r#"
import json
from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.plugins.hparams import plugin_data_pb2

events = plugin_event_accumulator.EventAccumulator("run", size_guidance={"tensors": 0})
events.Reload()
rows = [json.loads(line)["step"] for line in open("run/metrics.jsonl")]
assert [e.step for e in events.Tensors("loss/train")] == rows, "steps"
text = events.Tensors("config")[0].tensor_proto.string_val[0].decode()
assert "quick-task" in text and "lr = " in text, text
assert events.SummaryMetadata("config").plugin_data.plugin_name == "text"
content = events.PluginTagToContent("hparams")
read = lambda tag: plugin_data_pb2.HParamsPluginData.FromString(content[tag])
start = read("_hparams_/session_start_info").session_start_info
assert start.hparams["train.steps"].number_value == 12, start
assert start.hparams["run.model"].string_value == "gla"
metrics = {m.name.tag for m in read("_hparams_/experiment").experiment.metric_infos}
assert metrics == {"test/accuracy", "test/loss"}, metrics
assert read("_hparams_/session_end_info").session_end_info.status == 1
result = json.load(open("run/result.json"))
value = events.Tensors("test/accuracy")[0].tensor_proto.float_val[0]
assert abs(value - result["accuracy"]) < 1e-6, value
print("read")
"#;
    if let Some(said) = run("tensorboard", dir.path(), script) {
        assert!(said.contains("read"));
    }
}

//! Run folders of earlier versions still evaluate and resume. Each holds a whole run of 8 updates with the checkpoints
//! before the fifth and after the last; `tests/runs/VERSION/NAME.toml` is its task file.

use assert_cmd::Command;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Versions by commit, and their runs with the arguments that name a model.
const RUNS: &[(&str, &str, &[&str])] = &[
    ("e6df75b", "plain", &["--model", "gated_delta_net"]),
    ("e6df75b", "mixed", &[]),
];

/// A copy of a run's folder, and its task file.
fn copy(version: &str, name: &str) -> (tempfile::TempDir, PathBuf) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/runs")
        .join(version);
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(from.join(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    (dir, from.join(format!("{name}.toml")))
}

fn output(args: &[&str]) -> Value {
    let mut command = Command::cargo_bin("selectiv").unwrap();
    let done = command.args(args).args(["--device", "cpu"]).assert().success();
    serde_json::from_slice(&done.get_output().stdout).unwrap()
}

/// The same up to the rounding of another machine.
fn assert_same(got: &Value, want: &Value, what: &str) {
    for key in ["loss", "accuracy"] {
        let (got, want) = (got[key].as_f64().unwrap(), want[key].as_f64().unwrap());
        assert!((got - want).abs() < 1e-4, "{what}: {key} {got}, it was {want}");
    }
}

#[test]
fn they_evaluate() {
    for (version, name, _) in RUNS {
        let (dir, _) = copy(version, name);
        let result: Value =
            serde_json::from_slice(&fs::read(dir.path().join("result.json")).unwrap()).unwrap();
        let tested = output(&["eval", dir.path().to_str().unwrap(), "--json"]);
        assert_same(&tested[0], &result, &format!("{version} {name}"));
    }
}

#[test]
fn they_resume() {
    for (version, name, model) in RUNS {
        let (dir, task) = copy(version, name);
        let folder = dir.path().to_str().unwrap();
        let args = ["train", task.to_str().unwrap(), "--out", folder, "--resume"];
        let args = [&args[..], model].concat();
        let kept = output(&args);
        let was = fs::read(dir.path().join("result.json")).unwrap();
        let was: Value = serde_json::from_slice(&was).unwrap();
        for (key, value) in was.as_object().unwrap() {
            assert_eq!(
                &kept[key], value,
                "{version} {name}: a finished run says its result again"
            );
        }
        fs::remove_file(dir.path().join("result.json")).unwrap();
        fs::remove_file(dir.path().join("checkpoint-00000008.safetensors")).unwrap();
        let finished = output(&args);
        assert_same(&finished, &was, &format!("{version} {name} resumed"));
    }
}

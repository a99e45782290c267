//! The program as a whole: training, stopping, resuming and refusing, on the CPU.

mod claimed;
mod refused;
mod resumed;
mod runs;
mod tested;

use crate::common::{Folder, TASK};
use assert_cmd::Command;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const MODEL: &str = "gated_delta_net";

/// A folder with the task in it.
struct Place {
    folder: Folder,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: Folder::new(&[("tiny.toml", TASK)]),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path(name)
    }

    fn selectiv(&self) -> Command {
        self.folder.selectiv()
    }

    /// `selectiv train tiny.toml --model gated_delta_net --device cpu --out OUT ARGS`.
    fn train(&self, out: &str, args: &[&str]) -> Command {
        let mut command = self.selectiv();
        command.args([
            "train",
            "tiny.toml",
            "--model",
            MODEL,
            "--device",
            "cpu",
            "--out",
            out,
        ]);
        command.args(args);
        command
    }

    /// The same, running on its own.
    fn start(&self, out: &str, args: &[&str]) -> Child {
        std::process::Command::new(env!("CARGO_BIN_EXE_selectiv"))
            .current_dir(self.folder.path(""))
            .args([
                "train",
                "tiny.toml",
                "--model",
                MODEL,
                "--device",
                "cpu",
                "--out",
                out,
            ])
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn names(&self, out: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(out)).unwrap();
        let mut names: Vec<String> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn last_checkpoint(&self, out: &str) -> Vec<u8> {
        let names = self.names(out);
        let last = names.iter().rfind(|n| n.starts_with("checkpoint-")).unwrap();
        fs::read(self.path(out).join(last)).unwrap()
    }

    /// Step, loss, accuracy and gradient norm of each logged step: all that does not depend on the time of day.
    fn metrics(&self, out: &str) -> Vec<Vec<Value>> {
        let text = fs::read_to_string(self.path(out).join("metrics.jsonl")).unwrap();
        let rows = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let keys = [
            "step",
            "loss",
            "accuracy",
            "validation_loss",
            "train_accuracy",
            "lr",
            "grad_norm",
        ];
        rows.map(|row| keys.iter().map(|key| row[*key].clone()).collect())
            .collect()
    }
}

/// The result: the last line of standard output.
fn result(command: &mut Command) -> Value {
    let output = command.assert().success().get_output().clone();
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

/// Standard error of a command that must fail with this code.
fn error(command: &mut Command, code: i32) -> String {
    let output = command.assert().code(code).get_output().clone();
    assert!(output.stdout.is_empty(), "a refusal prints no result");
    String::from_utf8(output.stderr).unwrap()
}

/// Two results agree in everything that is not a time.
fn assert_same_numbers(a: &Value, b: &Value) {
    for key in [
        "task",
        "model",
        "params",
        "steps",
        "loss",
        "accuracy",
        "chance",
        "ceiling",
        "baseline_n2",
    ] {
        assert_eq!(a[key], b[key], "{key}");
    }
}

/// Tensors of a safetensors file.
fn tensors(file: &[u8]) -> Vec<(String, Vec<f32>)> {
    let file = safetensors::SafeTensors::deserialize(file).unwrap();
    let numbers = |data: &[u8]| -> Vec<f32> {
        data.chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    };
    let mut all: Vec<_> = file
        .iter()
        .map(|(name, view)| (name.to_owned(), numbers(view.data())))
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// Tensors and step of a checkpoint: the counters in it hold times.
fn assert_same_checkpoint(a: &[u8], b: &[u8]) {
    let (a, b) = (tensors(a), tensors(b));
    assert_eq!(a.len(), b.len());
    for ((name, x), (other, y)) in a.iter().zip(&b) {
        assert_eq!(name, other);
        let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert!(bits(x) == bits(y), "{name} differs");
    }
}

/// Two runs of the same updates ended alike: results, checkpoints, metrics.
fn assert_same_run(place: &Place, [a, b]: [&str; 2], [results_a, results_b]: [&Value; 2]) {
    assert_same_numbers(results_a, results_b);
    assert_same_checkpoint(&place.last_checkpoint(a), &place.last_checkpoint(b));
    assert_eq!(place.metrics(a), place.metrics(b));
}

/// Sends a signal; the exit code, if there is one.
#[cfg(unix)]
fn end(child: &mut Child, signal: &str) -> Option<i32> {
    let pid = child.id().to_string();
    std::process::Command::new("kill")
        .args([signal, &pid])
        .status()
        .unwrap();
    child.wait().unwrap().code()
}

/// Waits until a file matches, or the program has ended.
fn wait_for(folder: &Path, matches: impl Fn(&str) -> bool, child: &mut Child) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
        if names.any(|name| matches(&name)) || child.try_wait().unwrap().is_some() {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("nothing happened in a minute");
}

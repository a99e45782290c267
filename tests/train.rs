//! The program as a whole: training, stopping, resuming and refusing, on the CPU.

#![cfg(feature = "cli")]
#![allow(clippy::disallowed_macros, reason = "a test says what it left out")]
#![allow(clippy::unwrap_used, reason = "a failing step of a test may panic")]

use assert_cmd::Command;
use selectiv::train::checkpoint;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Task 1 made tiny: a run takes about a second.
const TASK: &str = r#"
[grammar]
vocab = 9
ambiguities = 6
depth = 4
seed = 1

[data]
length = 16
train = 960
validation = 60
test = 70
gap = 0.1

[model]
d_model = 16
layers = 1
heads = 2
chunk = 16

[train]
batch = 12
lr = 0.01
warmup = 5
eval_every = 20
"#;
const MODEL: &str = "gated_delta_net";

/// A folder with the task in it.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("tiny.toml"), TASK).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn selectiv(&self) -> Command {
        let mut command = Command::cargo_bin("selectiv").unwrap();
        // Without this some GPU drivers print an error line of their own.
        command
            .current_dir(self.dir.path())
            .env("XDG_RUNTIME_DIR", self.dir.path());
        command
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
            .current_dir(self.dir.path())
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

#[test]
fn learns_and_leaves_its_records() {
    let place = Place::new();
    let result = result(&mut place.train("run", &["--steps", "160", "--set", "train.dropout=0"]));
    let number = |key: &str| result[key].as_f64().unwrap();
    assert!(number("accuracy") > number("baseline_n1"), "{result}");
    assert!(number("accuracy") <= number("ceiling"), "{result}");
    assert_eq!(number("chance"), 1.0 / 27.0);
    assert!(number("tokens_per_s") > 0.0 && number("peak_bytes") > 0.0);
    let names = place.names("run");
    for name in ["config.toml", "metrics.jsonl", "result.json", "curve.svg"] {
        assert!(names.contains(&name.to_owned()), "{name} is missing in {names:?}");
    }
    assert_eq!(
        names.iter().filter(|n| n.starts_with("checkpoint-")).count(),
        2,
        "{names:?}"
    );
    let file: Value = serde_json::from_slice(&fs::read(place.path("run/result.json")).unwrap()).unwrap();
    assert_eq!(file, result);
    let rows = place.metrics("run");
    assert_eq!(rows.last().unwrap()[0], 160);
    assert!(
        rows[0][1].as_f64() > rows.last().unwrap()[1].as_f64(),
        "the loss falls"
    );
}

#[test]
fn same_seed_same_bits_and_another_seed_others() {
    let place = Place::new();
    let a = result(&mut place.train("a", &["--steps", "25"]));
    let b = result(&mut place.train("b", &["--steps", "25"]));
    assert_same_run(&place, ["a", "b"], [&a, &b]);
    let c = result(&mut place.train("c", &["--steps", "25", "--seed", "2", "--set", "grammar.seed=1"]));
    assert_ne!(a["loss"], c["loss"]);
}

#[test]
fn a_finished_run_prints_its_result_again() {
    let place = Place::new();
    let first = result(&mut place.train("run", &["--steps", "5"]));
    let again = result(&mut place.train("run", &["--steps", "5", "--resume"]));
    assert_eq!(first, again);
}

#[cfg(unix)]
#[test]
fn stopped_by_a_signal_and_resumed_is_bit_for_bit_the_same() {
    let place = Place::new();
    let steps = ["--steps", "400", "--set", "train.eval_every=37"];
    let whole = result(&mut place.train("whole", &steps));
    let mut child = place.start("parts", &steps);
    wait_for(
        &place.path("parts"),
        |name| name.starts_with("checkpoint-"),
        &mut child,
    );
    assert_eq!(end(&mut child, "-TERM"), Some(130));
    assert!(!place.path("parts/result.json").exists());
    let resumed = [&steps[..], &["--resume"]].concat();
    let parts = result(&mut place.train("parts", &resumed));
    assert_same_run(&place, ["whole", "parts"], [&whole, &parts]);
}

#[cfg(unix)]
#[test]
fn killed_at_any_time_and_resumed_is_bit_for_bit_the_same() {
    let place = Place::new();
    // A checkpoint after every update, so that most kills come while one is written.
    let steps = ["--steps", "120", "--set", "train.checkpoint_every=1"];
    let whole = result(&mut place.train("whole", &steps));
    let resumed = [&steps[..], &["--resume"]].concat();
    let mut kills = 0;
    for round in 0..12 {
        let mut child = place.start("parts", &resumed);
        // At least one more checkpoint each time, so that the run gets on.
        let before = if place.path("parts").exists() {
            place.names("parts")
        } else {
            Vec::new()
        };
        let new = |name: &str| name.starts_with("checkpoint-") && !before.contains(&name.to_owned());
        wait_for(&place.path("parts"), new, &mut child);
        std::thread::sleep(Duration::from_micros(700 * round));
        if child.try_wait().unwrap().is_some() {
            break;
        }
        end(&mut child, "-KILL");
        kills += 1;
    }
    assert!(kills > 0, "the run ended before it could be killed");
    let parts = result(&mut place.train("parts", &resumed));
    assert_same_run(&place, ["whole", "parts"], [&whole, &parts]);
    assert!(
        !place.names("parts").iter().any(|name| name.ends_with(".tmp")),
        "litter is removed"
    );
}

#[cfg(unix)]
#[test]
fn a_damaged_checkpoint_is_passed_over_and_named() {
    let place = Place::new();
    let steps = ["--steps", "400", "--set", "train.eval_every=10"];
    let whole = result(&mut place.train("whole", &steps));
    let mut child = place.start("parts", &steps);
    wait_for(
        &place.path("parts"),
        |name| name.starts_with("checkpoint-0000002"),
        &mut child,
    );
    end(&mut child, "-KILL");
    let names = place.names("parts");
    let last = names.iter().rfind(|n| n.starts_with("checkpoint-")).unwrap();
    let path = place.path("parts").join(last);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let mut command = place.train("parts", &[&steps[..], &["--resume"]].concat());
    let output = command.assert().success().get_output().clone();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("checksum"), "{stderr}");
    assert_same_checkpoint(&place.last_checkpoint("whole"), &place.last_checkpoint("parts"));
    assert_eq!(
        whole["loss"],
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["loss"]
    );
}

#[test]
fn micro_batches_change_nothing_but_rounding() {
    let place = Place::new();
    let whole = result(&mut place.train("whole", &["--steps", "10"]));
    for micro in ["1", "4"] {
        let parts = result(&mut place.train(micro, &["--steps", "10", "--micro-batch", micro]));
        let (a, b) = (whole["loss"].as_f64().unwrap(), parts["loss"].as_f64().unwrap());
        // Ten updates from the same start: rounding of 1e-7 grows by far less than 1000.
        assert!((a - b).abs() < 1e-4 * a, "micro-batch {micro}: {a} and {b}");
        let norms = |out: &str| -> Vec<f64> {
            place
                .metrics(out)
                .iter()
                .map(|m| m[6].as_f64().unwrap())
                .collect()
        };
        for (a, b) in norms("whole").into_iter().zip(norms(micro)) {
            assert!((a - b).abs() < 1e-3 * a, "gradient norms {a} and {b}");
        }
    }
}

#[test]
fn bad_input_is_refused_in_one_line_and_nothing_is_written() {
    let place = Place::new();
    let cases: &[(&[&str], &str)] = &[
        (&["--d-model", "17"], "d_model"),
        (&["--set", "grammar.depth=1000"], "grammar.depth"),
        (&["--set", "train.nonsense=1"], "nonsense"),
        (&["--set", "train.lr"], "--set"),
        (&["--lr", "fast"], "train.lr"),
        (&["--steps", "0"], "train.steps"),
        (
            &["--micro-batch", "5"],
            "--micro-batch = 5: allowed: divisors of the batch of 12",
        ),
        (&["--precision", "mixed"], "--precision = mixed"),
        (&["--device", "tpu"], "unknown device `tpu`: allowed: auto, cpu"),
        (&["--model", "elman"], "unknown model `elman`"),
    ];
    for (args, expected) in cases {
        let mut command = place.selectiv();
        let common = ["train", "tiny.toml", "--out", "out", "--steps", "5"];
        let own = |flag: &str| args.contains(&flag);
        command.args(if own("--steps") { &common[..4] } else { &common[..] });
        if !own("--model") {
            command.args(["--model", MODEL]);
        }
        if !own("--device") {
            command.args(["--device", "cpu"]);
        }
        let stderr = error(command.args(*args), 2);
        let errors: Vec<&str> = stderr.lines().filter(|l| l.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "{args:?}: {stderr}");
        assert!(errors[0].contains(expected), "{args:?}: {stderr}");
        assert!(!place.path("out").exists(), "{args:?} wrote something");
    }
}

#[test]
fn a_missing_or_broken_task_is_refused() {
    let place = Place::new();
    fs::write(place.path("broken.toml"), "[grammar]\nvocab = \n").unwrap();
    for (task, expected) in [("missing.toml", "missing.toml"), ("broken.toml", "broken.toml:2")] {
        let mut command = place.selectiv();
        let stderr = error(command.args(["train", task, "--model", MODEL]), 2);
        assert!(
            stderr.starts_with("error: ") && stderr.contains(expected),
            "{stderr}"
        );
    }
    assert!(!place.path("runs").exists());
}

#[test]
fn folders_in_use_are_refused() {
    let place = Place::new();
    result(&mut place.train("run", &["--steps", "5"]));
    let stderr = error(&mut place.train("run", &["--steps", "5"]), 2);
    assert!(
        stderr.contains("already holds a run") && stderr.contains("--resume"),
        "{stderr}"
    );
    let other = ["--steps", "5", "--lr", "0.5", "--set", "data.test=71", "--resume"];
    let stderr = error(&mut place.train("run", &other), 2);
    assert!(stderr.contains("train.lr = 0.01, not 0.5"), "{stderr}");
    assert!(stderr.contains("data.test = 70, not 71"), "{stderr}");
    fs::create_dir(place.path("notes")).unwrap();
    fs::write(place.path("notes/diary.txt"), "mine").unwrap();
    let stderr = error(&mut place.train("notes", &["--steps", "5", "--resume"]), 2);
    assert!(stderr.contains("holds other files"), "{stderr}");
    assert_eq!(place.names("notes"), ["diary.txt"]);
}

#[test]
fn a_folder_of_an_earlier_version_goes_on_unless_its_task_was_edited() {
    let place = Place::new();
    let steps = ["--steps", "10", "--set", "train.checkpoint_every=5"];
    let whole = result(&mut place.train("whole", &steps));
    result(&mut place.train("run", &steps));

    // As the first version left it after five updates, with the fields that it had.
    let config = place.path("run/config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let newer = ["householder", "expand", "conv"].map(|field| format!("{field} = "));
    let text = &text[text.find("[grammar]").unwrap()..];
    let lines = text
        .split_inclusive('\n')
        .filter(|line| !newer.iter().any(|field| line.starts_with(field)));
    let first: String = lines.collect();
    assert!(first.lines().count() == text.lines().count() - newer.len());
    fs::write(&config, &first).unwrap();
    fs::remove_file(place.path("run/result.json")).unwrap();
    fs::remove_file(place.path("run/checkpoint-00000010.safetensors")).unwrap();
    let mut saved = checkpoint::load(&place.path("run/checkpoint-00000005.safetensors")).unwrap();
    let fields = &first[first.find("[grammar]").unwrap()..];
    saved.config_hash = blake3::hash(fields.as_bytes()).to_hex().to_string();
    checkpoint::save(&place.path("run"), &saved).unwrap();

    let eval = || {
        let mut command = place.selectiv();
        command.args(["eval", "run", "--device", "cpu", "--json"]);
        command
    };
    eval().assert().success();
    for (from, to) in [
        ("lr = 0.01", "lr = 0.02"),
        ("chunk = 16", "chunk = 16\nd_state = 64"),
    ] {
        fs::write(&config, first.replace(from, to)).unwrap();
        let stderr = error(&mut eval(), 2);
        assert!(stderr.contains("made with another config.toml"), "{to}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{to}: {stderr}");
    }
    fs::write(&config, &first).unwrap();
    let resumed = result(&mut place.train("run", &[&steps[..], &["--resume"]].concat()));
    assert_same_numbers(&whole, &resumed);
    assert_same_checkpoint(&place.last_checkpoint("whole"), &place.last_checkpoint("run"));
}

#[test]
fn numbers_that_explode_stop_the_run_with_the_tensor() {
    let place = Place::new();
    let args = [
        "--steps",
        "60",
        "--lr",
        "1e30",
        "--warmup",
        "30",
        "--set",
        "train.eval_every=1000",
    ];
    let stderr = error(&mut place.train("run", &args), 1);
    let error = stderr.lines().last().unwrap();
    assert!(
        error.starts_with("error: step ") && error.contains("is not finite"),
        "{error}"
    );
    assert!(error.ends_with("last good checkpoint: none"), "{error}");
    assert!(!place.path("run/result.json").exists());
}

#[test]
fn a_dry_run_writes_nothing() {
    let place = Place::new();
    let mut command = place.train("run", &["--dry-run", "-v", "--profile"]);
    let output = command.assert().success().get_output().clone();
    let text = String::from_utf8(output.stdout).unwrap();
    for word in [
        "parameters",
        "micro-batch",
        "launches",
        "time of all 80 updates",
        "linear_bwd",
        "GFLOP/s",
    ] {
        assert!(text.contains(word), "{word} is missing in\n{text}");
    }
    assert!(!place.path("run").exists());
}

#[test]
fn eval_repeats_the_test_of_training() {
    let place = Place::new();
    let trained = result(&mut place.train("run", &["--steps", "30"]));
    let mut command = place.selectiv();
    command.args(["eval", "run", "--device", "cpu", "--gaps", "0.1,0.5", "--json"]);
    let lines = String::from_utf8(command.assert().success().get_output().stdout.clone()).unwrap();
    let lines: Vec<Value> = serde_json::from_str(&lines).unwrap();
    for key in ["accuracy", "loss", "ceiling", "chance"] {
        assert_eq!(lines[0][key], trained[key], "{key}");
    }
    assert_eq!(
        (&lines[0]["gap_steps"], &lines[1]["gap_steps"]),
        (&1.into(), &5.into())
    );
    assert_ne!(lines[0]["loss"], lines[1]["loss"]);
}

#[test]
fn eval_refuses_what_it_cannot_test() {
    let place = Place::new();
    let stderr = error(place.selectiv().args(["eval", "nowhere"]), 2);
    assert!(stderr.contains("holds no run"), "{stderr}");
    result(&mut place.train("run", &["--steps", "5"]));
    let larger = TASK.replace("vocab = 9", "vocab = 12");
    fs::write(place.path("larger.toml"), larger).unwrap();
    let mut command = place.selectiv();
    command.args(["eval", "run", "--device", "cpu", "--task", "larger.toml"]);
    let stderr = error(&mut command, 2);
    assert!(
        stderr.contains("12 symbols") && stderr.contains("at most the 9 symbols"),
        "{stderr}"
    );
}

#[cfg(feature = "gpu")]
#[test]
fn the_first_gpu_trains_as_the_cpu_does() {
    if selectiv::gpu::adapter::adapters().is_empty() {
        eprintln!("skipped: no GPU adapter");
        return;
    }
    let place = Place::new();
    let losses = |model: &str, device: &str, micro: &str| -> Vec<f64> {
        let out = format!("{model}-{}-{micro}", &device[..3]);
        let mut command = place.selectiv();
        command.args(["train", "tiny.toml", "--model", model, "--steps", "6"]);
        command.args(["--device", device, "--out", &out, "--micro-batch", micro]);
        result(&mut command);
        let rows = place.metrics(&out);
        rows.iter().map(|m| m[1].as_f64().unwrap()).collect()
    };
    for model in ["transformer", MODEL] {
        let cpu = losses(model, "cpu", "12");
        for micro in ["12", "4"] {
            for (a, b) in cpu.iter().zip(losses(model, "gpu:0", micro)) {
                // Six updates, dropout included, from the same start: rounding of 1e-6 grows by far less than 100.
                assert!(
                    (a - b).abs() < 1e-4 * a,
                    "{model}, micro-batch {micro}: {a} on the CPU, {b} on the GPU"
                );
            }
        }
    }
}

#[test]
fn version_names_commit_and_wgpu() {
    let output = Place::new()
        .selectiv()
        .arg("--version")
        .assert()
        .success()
        .get_output()
        .clone();
    let text = String::from_utf8(output.stdout).unwrap();
    for word in ["selectiv 0.", "commit ", "wgpu 30", "naga 30"] {
        assert!(text.contains(word), "{text}");
    }
}

/// Standard output of a command that must succeed, as JSON.
fn json_of(command: &mut Command) -> Value {
    let output = command.assert().success().get_output().stdout.clone();
    serde_json::from_slice(&output).unwrap()
}

#[test]
fn eval_shows_gates_and_decodes_every_kind_of_layer() {
    let place = Place::new();
    let stack =
        r#"["gated_delta_net", "mamba", "mamba2", "gla", "fox", "mesa_net", "s4", "gru", "transformer"]"#;
    let mut command = place.selectiv();
    command.args([
        "train",
        "tiny.toml",
        "--device",
        "cpu",
        "--out",
        "run",
        "--steps",
        "5",
    ]);
    command.args([
        "--set",
        &format!("model.layers={stack}"),
        "--set",
        "model.d_state=4",
    ]);
    let trained = result(&mut command);
    assert_eq!(trained["layers"], 9);
    assert!(
        trained["model"]
            .as_str()
            .unwrap()
            .starts_with("gated_delta_net+mamba+mamba2+gla")
    );

    let eval = |flag: &str| {
        let mut command = place.selectiv();
        command.args(["eval", "run", "--device", "cpu", flag, "--json"]);
        json_of(&mut command)
    };
    let gates = eval("--gates")[0]["gates"].as_array().unwrap().clone();
    let of = |layer: u64, gate: &str| -> Vec<Value> {
        let wanted = |row: &&Value| row["layer"] == layer && row["gate"] == gate;
        gates.iter().filter(wanted).cloned().collect()
    };
    // Heads of each layer's decay: two of the model, twice as many in Mamba2, one in Mamba.
    let decays: Vec<usize> = (0..9).map(|layer| of(layer, "decay").len()).collect();
    assert_eq!(decays, [2, 1, 4, 2, 2, 2, 0, 0, 0]);
    for row in &gates {
        let (symbols, gaps) = (row["symbols"].as_f64().unwrap(), row["gaps"].as_f64().unwrap());
        if row["gate"] != "readout" {
            assert!(symbols > 0.0 && gaps > 0.0, "{row}");
        }
        if row["gate"] == "decay" {
            assert!(symbols <= 1.0 && gaps <= 1.0, "{row}");
        }
        assert_ne!(symbols, gaps, "{row}");
    }

    let decoded = &eval("--decode")[0];
    assert!(decoded["error"].as_f64().unwrap() < 1e-5, "{decoded}");
    assert_eq!(decoded["accuracy_decode"], decoded["accuracy_chunkwise"]);
    assert!(decoded["tokens_per_s"].as_f64().unwrap() > 0.0);
    // models.md 7, d 16, H 2, N 4, 32 time steps, in f32.
    let (d, h, n, t) = (16, 2, 4, 32);
    let matrix = 2 * d * d / h + 12 * d;
    let floats = [
        matrix,
        2 * d * n + 6 * d,
        2 * d * n + 6 * d + 6 * n,
        matrix,
        2 * d * t + h * t,
        2 * d * d / h + 6 * d,
        d * n,
        d,
        2 * d * t,
    ];
    let bytes: Vec<Value> = floats.iter().map(|f| (4 * f).into()).collect();
    assert_eq!(decoded["state_bytes"], Value::from(bytes));
}

#[test]
fn layers_and_model_names_must_fit() {
    let place = Place::new();
    let refused = |args: &[&str], words: &[&str]| {
        let mut command = place.selectiv();
        command.args(["train", "tiny.toml", "--device", "cpu", "--out", "run"]);
        let stderr = error(command.args(args), 2);
        for word in words {
            assert!(stderr.contains(word), "{word} in {stderr}");
        }
        assert!(!place.path("run").exists());
    };
    let mixed = "model.layers=[\"gla\", \"gru\"]";
    refused(&[], &["--model", "transformer, mamba"]);
    refused(&["--set", mixed, "--model", "gla"], &["--model", "gla+gru"]);
    refused(
        &["--set", "model.layers=[\"lstm\"]"],
        &["model.layers", "lstm", "gated_delta_net"],
    );
    let decay = |kind: &str| format!("model.decay={kind}");
    refused(&["--model", "gru", "--set", &decay("none")], &["gru", "no gates"]);
    refused(
        &["--model", "gated_delta_net", "--set", &decay("state")],
        &["gated_delta_net", "model.decay", "a matrix a head"],
    );
    refused(
        &["--model", "gla", "--set", &decay("often")],
        &["model.decay", "often", "fixed"],
    );
}

/// Owner of the claim on a run, once there is one.
fn claimed(place: &Place, out: &str) -> Value {
    let path = place.path(out).join("claim/owner.json");
    let start = Instant::now();
    loop {
        if let Ok(text) = fs::read(&path) {
            return serde_json::from_slice(&text).unwrap();
        }
        assert!(start.elapsed() < Duration::from_secs(60), "no claim");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn one_process_works_in_a_folder() {
    let place = Place::new();
    let mut first = place.start("run", &["--steps", "100000"]);
    let owner = claimed(&place, "run");
    assert_eq!(owner["process"], first.id());
    let expected = format!("in use by process {}", first.id());
    for args in [&["--lr", "0.02"][..], &["--resume", "--steps", "100000"]] {
        let message = error(&mut place.train("run", args), 2);
        assert!(message.contains(&expected), "{message}");
    }
    // A dead process holds nothing.
    first.kill().unwrap();
    first.wait().unwrap();
    let config = fs::read_to_string(place.path("run/config.toml"));
    if config.is_ok() {
        let message = error(&mut place.train("run", &[]), 2);
        assert!(message.contains("--resume"), "{message}");
    }
    result(&mut place.train("other", &["--steps", "4"]));
    assert!(!place.names("other").contains(&"claim".to_owned()));
}

#[test]
fn who_loses_the_claim_stops_and_writes_nothing_more() {
    let place = Place::new();
    let mut run = place.start("run", &["--steps", "100000", "--set", "train.checkpoint_every=5"]);
    let mut owner = claimed(&place, "run");
    let metrics = place.path("run/metrics.jsonl");
    while !fs::metadata(&metrics).is_ok_and(|m| m.len() > 0) {
        std::thread::sleep(Duration::from_millis(5));
    }
    owner["token"] = "another process".into();
    fs::write(place.path("run/claim/owner.json"), owner.to_string()).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(3));
    assert!(
        place.names("run").contains(&"claim".to_owned()),
        "it is the other's"
    );
}

#[test]
fn eval_takes_the_accuracy_apart() {
    let place = Place::new();
    let trained = result(&mut place.train("run", &["--steps", "20"]));
    let args = [
        "eval",
        "run",
        "--device",
        "cpu",
        "--by",
        "position,symbol,distance,gap",
        "--json",
        "-q",
    ];
    let output = place
        .selectiv()
        .args(args)
        .assert()
        .success()
        .get_output()
        .clone();
    let tables: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let names: Vec<&str> = tables.iter().map(|t| t["by"].as_str().unwrap()).collect();
    assert_eq!(names, ["position", "symbol", "distance", "gap"]);
    for table in &tables {
        let rows = table["rows"].as_array().unwrap();
        let elements: u64 = rows.iter().map(|row| row["elements"].as_u64().unwrap()).sum();
        assert_eq!(elements, 70 * 16);
        let right: f64 = rows
            .iter()
            .map(|row| row["elements"].as_f64().unwrap() * row["accuracy"].as_f64().unwrap())
            .sum();
        let accuracy = right / elements as f64;
        assert!(
            (accuracy - trained["accuracy"].as_f64().unwrap()).abs() < 1e-6,
            "{table}"
        );
    }
    let args = ["eval", "run", "--device", "cpu", "--by", "symbol", "-q"];
    let output = place
        .selectiv()
        .args(args)
        .assert()
        .success()
        .get_output()
        .clone();
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("test gap 0.1 s")
    );
}

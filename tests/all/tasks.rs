//! The tasks beyond the first, trained and tested as a user does, small and on the CPU; samples out to files and back.

use crate::common::skipped::skipped;
use assert_cmd::Command;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Seventeen states, seven symbols: learned within seconds.
const TASK: &str = "
[grammar]
vocab = 7
ambiguities = 5
depth = 3
seed = 1
[data]
length = 12
train = 3840
validation = 40
test = 60
";
const MODEL: &str = "
[model]
d_model = 32
layers = 1
heads = 2
chunk = 16
[train]
batch = 16
lr = 0.02
warmup = 10
dropout = 0.0
eval_every = 60
";

struct Place {
    dir: TempDir,
}

impl Place {
    /// With `task.toml`, whose `[data]` goes on with these lines.
    fn new(data: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("task.toml"), format!("{TASK}{data}{MODEL}")).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn selectiv(&self, args: &[&str]) -> Command {
        let mut command = Command::cargo_bin("selectiv").unwrap();
        command
            .current_dir(self.dir.path())
            .env("XDG_RUNTIME_DIR", self.dir.path())
            .args(args);
        command
    }

    fn said(&self, args: &[&str]) -> String {
        let output = self.selectiv(args).assert().success().get_output().clone();
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.said(args)).unwrap()
    }

    fn train(&self, out: &str, more: &[&str]) -> Value {
        let args = [
            "train",
            "task.toml",
            "--model",
            "gated_delta_net",
            "--device",
            "cpu",
            "-q",
            "--out",
            out,
        ];
        self.json(&[&args, more].concat())
    }

    fn eval(&self, run: &str, more: &[&str]) -> Vec<Value> {
        let lines = self.json(&[&["eval", run, "--device", "cpu", "-q", "--json"], more].concat());
        lines.as_array().unwrap().clone()
    }

    fn refused(&self, args: &[&str]) -> String {
        let output = self.selectiv(args).assert().code(2).get_output().clone();
        assert!(output.stdout.is_empty(), "a refusal prints no result");
        String::from_utf8(output.stderr).unwrap()
    }
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} in {value}"))
}

/// Better than the unigram predictor, not above the ideal observer by more than chance allows.
fn assert_learned(result: &Value) {
    let of = |key| number(result, key);
    assert!(of("accuracy") > of("baseline_n1") + 0.1, "{result}");
    assert!(of("accuracy") <= of("ceiling") + 0.03, "{result}");
}

#[test]
fn task_2_is_learned_and_tested_at_longer_gaps_than_it_was_trained_on() {
    let place = Place::new("gap = { uniform = [0.1, 0.5] }\ntest_gap = [0.5, 1, 2]\nnoise = 0.2\n");
    let result = place.train("run", &[]);
    assert_learned(&result);

    let lines = place.eval("run", &[]);
    let steps: Vec<&Value> = lines.iter().map(|line| &line["gap_steps"]).collect();
    assert_eq!(steps, [5, 10, 20]);
    assert_eq!(lines[2]["gap"], "2 s");
    for key in ["accuracy", "loss", "chance", "ceiling"] {
        assert_eq!(lines[0][key], result[key], "{key}");
    }
    assert_eq!(
        (&lines[0]["blocks"], &lines[0]["sizes"]),
        (&result["blocks"], &result["sizes"])
    );
    assert!(
        lines
            .iter()
            .all(|line| number(line, "accuracy") > number(line, "chance"))
    );
    let told = place.eval("run", &["--gaps", "1"]);
    assert_eq!(told[0], lines[1]);

    let table = place.said(&["eval", "run", "--device", "cpu", "-q", "--gaps", "0.5,10"]);
    assert!(table.contains("10 s") && table.contains("100"), "{table}");
    assert!(table.contains("gated_delta_net, 1 layer, d_model 32"), "{table}");
    assert!(table.lines().all(|line| line.len() <= 80), "{table}");
}

/// What does not fit is said before anything is tested or trained, with the bytes that it takes and those that there are.
#[test]
fn gaps_that_are_too_long_for_the_memory_are_refused() {
    // What the samples below take is twice this.
    if selectiv::memory::free().is_none_or(|free| free > 25 << 30) {
        skipped(
            "gaps_that_are_too_long_for_the_memory_are_refused",
            "there is more than 25 GiB",
        );
        return;
    }
    let place = Place::new("gap = 0.1\n");
    let wide = [
        "--d-model",
        "1024",
        "--set",
        "model.heads=8",
        "--set",
        "model.chunk=64",
    ];
    let short = ["--batch", "1", "--steps", "1", "--lr", "1e-6"];
    place.train("run", &[&wide[..], &short].concat());
    let long = TASK.replace("length = 12", "length = 1000");
    let write = |name: &str, gaps: &str| {
        fs::write(place.path(name), format!("{long}{gaps}{MODEL}")).unwrap();
    };
    write("long.toml", "gap = 0.1\n");
    write("longer.toml", "gap = 0.1\ntest_gap = [0.1, 100]\n");
    let eval = [
        "eval",
        "run",
        "--device",
        "cpu",
        "--task",
        "long.toml",
        "--gaps",
        "0.1,100",
    ];
    // A task's own list is looked at before it is trained for.
    let train = [
        "train",
        "longer.toml",
        "--model",
        "gated_delta_net",
        "--device",
        "cpu",
        "--out",
        "other",
    ];
    for args in [eval.to_vec(), [&train[..], &wide, &short].concat()] {
        let message = place.refused(&args);
        assert!(
            message.contains(" takes ") && message.contains("GiB of memory are free"),
            "{message}"
        );
        assert!(!message.contains("gap 0.1 s:"), "nothing was tested: {message}");
    }
    assert!(!place.path("other").exists());
}

#[test]
fn task_3_is_learned_among_wrong_symbols() {
    let place = Place::new("gap = 0.1\nnongrammatical = true\ngap_start = 2\ngap_prob = 0.3\n");
    let result = place.train("run", &[]);
    assert_learned(&result);
    assert_eq!(place.eval("run", &[])[0]["accuracy"], result["accuracy"]);
}

/// Every step of a gap of task 3 shows a symbol that the grammar does not allow there.
#[test]
fn a_picture_frames_the_wrong_symbols() {
    let place = Place::new("gap = 0.1\nnongrammatical = true\ngap_start = 2\ngap_prob = 0.5\n");
    let show = ["data", "show", "task.toml", "--idx", "3", "--svg", "sample.svg"];
    let text = place.said(&show);
    let elements = text.lines().filter(|line| !line.ends_with(" s"));
    let wrong = elements.filter(|line| line.contains(" 0.1 ")).count();
    assert!(wrong > 0, "{text}");
    let picture = fs::read_to_string(place.path("sample.svg")).unwrap();
    assert_eq!(picture.matches("stroke=\"#C81E1E\"").count(), wrong, "{text}");
    assert!(picture.contains("symbols that the grammar does not allow there"));
}

#[test]
fn next_symbols_are_learned_and_the_divergence_from_the_true_probabilities_falls() {
    for splits in ["disjoint", "reference"] {
        let place = Place::new(&format!("gap = 0.1\ntargets = \"next\"\nsplits = \"{splits}\"\n"));
        let before = number(&place.train("begun", &["--steps", "1"]), "kl");
        let result = place.train("run", &[]);
        let after = number(&result, "kl");
        assert!(after >= 0.0 && after < 0.5 * before, "{splits}: {before} {after}");
        let line = &place.eval("run", &[])[0];
        for key in ["kl", "loss", "accuracy", "chance"] {
            assert_eq!(line[key], result[key], "{splits} {key}");
        }
        assert_eq!(number(&result, "chance"), 1.0 / 7.0);
    }
}

#[test]
fn a_sweep_over_next_symbols_and_several_test_gaps_has_their_numbers() {
    let place = Place::new("gap = 0.1\ntargets = \"next\"\ntest_gap = [0.1, 0.3]\n");
    let sweep =
        "tasks = [\"task.toml\"]\nmodels = [\"gla\"]\n[set]\n\"train.steps\" = 20\n[grid]\nseed = [1]\n";
    fs::write(place.path("sweep.toml"), sweep).unwrap();
    place.said(&["sweep", "sweep.toml", "--out", "out", "--device", "cpu", "-q"]);
    let mut table = csv::Reader::from_path(place.path("out/results.csv")).unwrap();
    let column = table
        .headers()
        .unwrap()
        .iter()
        .position(|name| name == "kl")
        .unwrap();
    let row = table.records().next().unwrap().unwrap();
    assert!(row[column].parse::<f64>().unwrap() > 0.0, "{row:?}");
    let metrics = fs::read_to_string(place.path("out/metrics.csv")).unwrap();
    for expected in [",test,kl,", ",test gap 0.3 s,kl,", ",test gap 0.1 s,accuracy,"] {
        assert!(metrics.contains(expected), "{expected}: {metrics}");
    }
    // The tables are there again when they are asked for.
    fs::remove_file(place.path("out/results.csv")).unwrap();
    place.said(&["sweep", "out", "--table"]);
    assert!(place.path("out/results.csv").is_file());
}

/// Step, loss, accuracy and gradient norm of each line.
fn numbers(place: &Place, run: &str) -> Vec<[Value; 4]> {
    let text = fs::read_to_string(place.path(run).join("metrics.jsonl")).unwrap();
    let row = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        ["step", "loss", "accuracy", "grad_norm"].map(|key| line[key].clone())
    };
    text.lines().map(row).collect()
}

#[test]
fn samples_go_out_to_a_file_and_back_and_train_the_same_bits() {
    let place = Place::new("gap = { uniform = [0.1, 0.5] }\ntest_gap = 0.5\nnoise = 0.2\n");
    let drawn = place.train("drawn", &["--steps", "40"]);
    place.said(&["data", "export", "task.toml", "--out", "samples"]);
    place.said(&["data", "import", "samples", "--out", "there"]);
    let stored = place.train("stored", &["--steps", "40", "--set", "data.path=there"]);
    assert_eq!(numbers(&place, "drawn"), numbers(&place, "stored"));
    for key in ["loss", "accuracy", "ceiling", "baseline_n2"] {
        assert_eq!(drawn[key], stored[key], "{key}");
    }
    assert_eq!(place.eval("stored", &[])[0]["loss"], stored["loss"]);

    let exists = place.refused(&["data", "export", "task.toml", "--out", "samples"]);
    assert!(exists.contains("samples: is there already"), "{exists}");
    let file = fs::read(place.path("samples")).unwrap();
    fs::write(place.path("cut"), &file[..file.len() - 1]).unwrap();
    let mut damaged = file.clone();
    damaged[file.len() - 100] ^= 1;
    fs::write(place.path("damaged"), &damaged).unwrap();
    for (name, expected) in [("cut", "was cut"), ("damaged", "the checksum does not match")] {
        let message = place.refused(&["data", "import", name, "--out", "elsewhere"]);
        assert!(message.contains(name) && message.contains(expected), "{message}");
        assert!(!place.path("elsewhere").exists());
    }

    // What lies there is looked at whenever it is read.
    fs::write(place.path("there/data.safetensors"), &damaged).unwrap();
    let message = place.refused(&["eval", "stored", "--device", "cpu"]);
    assert!(message.contains("the checksum does not match"), "{message}");
    // Other samples, whole in themselves, are not those that the run began with.
    fs::remove_dir_all(place.path("there")).unwrap();
    place.said(&["data", "export", "task.toml", "--seed", "2", "--out", "others"]);
    place.said(&["data", "import", "others", "--out", "there"]);
    let message = place.refused(&["eval", "stored", "--device", "cpu"]);
    assert!(
        message.contains("other samples than when the run began"),
        "{message}"
    );
}

/// Whether a program runs here; a test without it says that it is left out.
fn is_there(program: &str, args: &[&str]) -> bool {
    let asked = std::process::Command::new(program).args(args).output();
    asked.is_ok_and(|output| output.status.success())
}

#[test]
fn graphviz_draws_a_grammar() {
    if !is_there("dot", &["-V"]) {
        skipped("graphviz_draws_a_grammar", "there is no `dot` here");
        return;
    }
    let place = Place::new("");
    let numbers = [
        "--vocab",
        "9",
        "--ambiguities",
        "6",
        "--depth",
        "4",
        "--seed",
        "1",
    ];
    let grammar = [
        &["grammar", "--sequences", "0", "--format", "dot"][..],
        &numbers[..],
    ]
    .concat();
    fs::write(place.path("grammar.dot"), place.said(&grammar)).unwrap();
    let drawn = std::process::Command::new("dot")
        .arg("-Tplain")
        .arg(place.path("grammar.dot"))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&drawn.stderr);
    assert!(drawn.status.success() && stderr.is_empty(), "{stderr}");
    let drawn = String::from_utf8(drawn.stdout).unwrap();
    let nodes = drawn.lines().filter(|line| line.starts_with("node ")).count();
    let edges = drawn.lines().filter(|line| line.starts_with("edge ")).count();
    let json: Value =
        place.json(&[&["grammar", "--sequences", "0", "--format", "json"], &numbers[..]].concat());
    assert!(nodes >= json["states"].as_array().unwrap().len(), "{drawn}");
    assert!(edges >= json["transitions"].as_array().unwrap().len(), "{drawn}");
}

/// The lines of tasks.md 6 that make noise, held against the inputs of an export.
#[test]
fn ten_lines_of_numpy_make_the_noise() {
    if !is_there("python3", &["-c", "import numpy"]) {
        skipped("ten_lines_of_numpy_make_the_noise", "there is no numpy here");
        return;
    }
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tasks.md")).unwrap();
    let start = page.find("def noise(").unwrap();
    let code = &page[start..start + page[start..].find("```").unwrap()];
    let place = Place::new("gap = { uniform = [0.1, 0.5] }\ntest_gap = 0.5\nnoise = 0.2\n");
    place.said(&[
        "data",
        "export",
        "task.toml",
        "--out",
        "samples",
        "--dense",
        "--limit",
        "3",
    ]);
    let script = format!(
        "import json, numpy as np\n{code}\n\
         file = open('samples', 'rb').read()\n\
         end = 8 + int.from_bytes(file[:8], 'little')\n\
         header = json.loads(file[8:end])\n\
         def tensor(name, kind):\n    \
             info = header[name]\n    \
             a, b = info['data_offsets']\n    \
             return np.frombuffer(file[end + a:end + b], kind).reshape(info['shape'])\n\
         for split, name in enumerate(['train', 'validation', 'test']):\n    \
             inputs, gaps, symbols = tensor(name + '.inputs', '<f4'), tensor(name + '.gaps', '<u2'), tensor(name + '.symbols', 'u1')\n    \
             for idx in range(3):\n        \
                 steps = int(gaps[idx].sum()) + 12\n        \
                 want = np.zeros((steps, 7), np.float32)\n        \
                 want[np.cumsum(1 + gaps[idx].astype(int)) - 1 - gaps[idx], symbols[idx]] = 1\n        \
                 want = want + noise(1, split, idx, steps, 7) * np.float32(0.2)\n        \
                 assert (inputs[idx, :steps] == want).all() and (inputs[idx, steps:] == 0).all(), (split, idx)\n\
         first = noise(1, 0, 0, 1, 5)[0] * 2**24\n\
         assert first.tolist() == [1652558, 1027065, 15040361, 15789163, 15174147], first\n\
         print('same')\n"
    );
    fs::write(place.path("noise.py"), script).unwrap();
    let output = std::process::Command::new("python3")
        .current_dir(place.dir.path())
        .arg("noise.py")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "same");
}

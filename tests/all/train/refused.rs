//! What is refused, before anything is written.

use super::{MODEL, Place, error, result};
use std::fs;

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
        (
            &["--precision", "mixed", "--model", "transformer"],
            "--precision = mixed",
        ),
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

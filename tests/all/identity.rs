//! What a run says of itself: its configuration repeats it, its result and its weights tell which model it was.

use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// Task 1 made tiny.
const TASK: &str = include_str!("../cases/small.toml");
/// A grammar of its own, with the task of it below.
const GRAMMAR: &str = include_str!("../cases/grammar.json");
const GRAMMAR_TASK: &str = "
[grammar]
file = \"g.json\"
[data]
length = 16
train = 64
validation = 8
test = 8
[model]
d_model = 16
layers = 1
[train]
batch = 8
lr = 0.01
";

struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("small.toml"), TASK).unwrap();
        fs::write(dir.path().join("g.json"), GRAMMAR).unwrap();
        fs::write(dir.path().join("own.toml"), GRAMMAR_TASK).unwrap();
        let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
        for name in ["plain.safetensors", "prefix-module.safetensors"] {
            fs::copy(fixtures.join(name), dir.path().join(name)).unwrap();
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Exit code, standard output and error of a command line.
    fn run(&self, line: &str) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_selectiv"));
        command
            .current_dir(self.dir.path())
            .args(line.split(' '))
            .args(["--device", "cpu"]);
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    fn good(&self, line: &str) -> (String, String) {
        let (code, out, said) = self.run(line);
        assert_eq!(code, 0, "{line}: {said}");
        (out, said)
    }

    fn refused(&self, line: &str) -> String {
        let (code, out, said) = self.run(line);
        assert_eq!(code, 2, "{line}: {said}");
        assert!(out.is_empty(), "{out}");
        said
    }

    fn result(&self, line: &str) -> Value {
        serde_json::from_str(self.good(line).0.lines().last().unwrap()).unwrap()
    }
}

fn numbers(result: &Value) -> Vec<Value> {
    let keys = [
        "task", "model", "steps", "loss", "accuracy", "ceiling", "sizes", "blocks",
    ];
    keys.iter().map(|key| result[*key].clone()).collect()
}

#[test]
fn a_configuration_repeats_its_run() {
    let place = Place::new();
    let first = place.result("train small.toml --model gla --steps 20 --set model.decay=head --out run");
    for again in ["run/config.toml", "run"] {
        let out = format!("again-{}", again.len());
        assert_eq!(
            numbers(&place.result(&format!("train {again} --out {out}"))),
            numbers(&first)
        );
    }
    assert_eq!(numbers(&place.result("train run --resume")), numbers(&first));
    assert!(place.refused("train run --resume --lr 0.5").contains("train.lr"));
    fs::create_dir(place.path("empty")).unwrap();
    assert!(place.refused("train empty").contains("holds no run"));
}

#[test]
fn a_configuration_that_was_changed_is_refused_by_every_command() {
    let place = Place::new();
    place.good("train small.toml --model gla --steps 20 --out run");
    let file = place.path("run/config.toml");
    let text = fs::read_to_string(&file).unwrap();
    let change = |from: &str, to: &str| {
        let changed = text.replace(from, to);
        assert_ne!(changed, text);
        fs::write(&file, changed).unwrap();
    };
    for (from, to, said_of) in [
        ("lr = 0.003", "lr = 0.5", "train.lr = 0.5, not 0.003"),
        ("\ntest = 20", "\ntest = 8", "data.test = 8, not 20"),
        ("steps = 20", "steps = 40", "train.steps = 40, not 20"),
        (
            "task = \"small\"",
            "task = \"other\"",
            "run.task = \"other\", not \"small\"",
        ),
    ] {
        change(from, to);
        for command in [
            "train run --resume",
            "eval run",
            "weights export run w.safetensors",
        ] {
            let said = place.refused(command);
            let line = said.lines().last().unwrap();
            assert!(
                line.contains("run/config.toml: was changed since the run began") && line.contains(said_of),
                "{command}: {said}"
            );
        }
    }
    // Without checkpoints the result still tells.
    for step in [10, 20] {
        fs::remove_file(place.path(&format!("run/checkpoint-{step:08}.safetensors"))).unwrap();
    }
    for (from, to, field) in [
        ("lr = 0.003", "lr = 0.5", "train.lr"),
        ("d_state = 8", "d_state = 16", "model.d_state"),
    ] {
        change(from, to);
        let said = place.refused("train run --resume");
        assert!(said.contains("result.json") && said.contains(field), "{said}");
    }
    fs::write(&file, &text).unwrap();
    place.good("train run --resume");
}

#[test]
fn a_result_and_a_folder_tell_models_apart() {
    let place = Place::new();
    let plain = place.result("train small.toml --model gla --steps 2");
    assert!(place.path("runs/small-gla-1/curve.svg").is_file());
    assert_eq!(plain["blocks"], serde_json::json!(["gla"]));
    let switched = place.result("train small.toml --model gla --steps 2 --set model.decay=none --d-model 32");
    assert_eq!(
        (&switched["sizes"]["decay"], &switched["sizes"]["d_model"]),
        (&"none".into(), &32.into())
    );
    let folder = place.path("runs/small-gla-1-d_model=32-decay=none");
    let title = fs::read_to_string(folder.join("curve.svg")).unwrap();
    assert!(title.contains("decay none") && title.contains("d_model 32"));
    let list = "[\"gla\",\"gla\",\"gru\"]";
    let mixed = place.result(&format!("train small.toml --steps 2 --set model.layers={list}"));
    assert_eq!(mixed["blocks"], serde_json::json!(["gla", "gla", "gru"]));
    assert!(place.path("runs/small-gla+gru-1-2xgla+gru/result.json").is_file());
}

#[test]
fn a_run_keeps_its_grammar() {
    let place = Place::new();
    let line = "train own.toml --model gru --steps 20 --out run";
    let first = place.result(line);
    let eval = || place.good("eval run --json").0;
    let before = eval();
    let mut grammar: Value = serde_json::from_str(GRAMMAR).unwrap();
    let states = grammar["states"].as_array().unwrap();
    let at = |name: &str| states.iter().position(|state| state == name).unwrap();
    let (one, other) = (at("A0"), at("E1"));
    grammar["ids"].as_array_mut().unwrap().swap(one, other);
    fs::write(place.path("g.json"), grammar.to_string()).unwrap();
    assert_eq!(eval(), before);
    let said = place.refused(&format!("{line} --resume"));
    assert!(said.contains("grammar.file"), "{said}");
    fs::remove_file(place.path("g.json")).unwrap();
    fs::rename(place.path("run"), place.path("moved")).unwrap();
    assert_eq!(place.good("eval moved --json").0, before);
    assert_eq!(
        numbers(&place.result("train moved --out again"))[1..],
        numbers(&first)[1..]
    );
    fs::write(place.path("moved/grammar.json"), grammar.to_string()).unwrap();
    assert!(
        place
            .refused("eval moved")
            .contains("was changed since the run began")
    );
}

#[test]
fn a_grammar_may_begin_with_a_byte_order_mark() {
    let place = Place::new();
    let line = "train own.toml --model gru --steps 5 --out";
    let plain = place.result(&format!("{line} plain"));
    fs::write(place.path("g.json"), format!("\u{feff}{GRAMMAR}")).unwrap();
    assert_eq!(numbers(&place.result(&format!("{line} marked"))), numbers(&plain));
}

#[test]
fn exported_weights_say_what_they_are() {
    let place = Place::new();
    for (task, set) in [("small.toml", "model.decay=head"), ("own.toml", "model.expand=1")] {
        let run = format!("run-{}", task.len());
        let first = place.result(&format!(
            "train {task} --model gla --steps 5 --set {set} --out {run}"
        ));
        place.good(&format!("weights export {run} {run}.safetensors"));
        place.good(&format!("weights import {run}.safetensors --out again-{run}"));
        let (text, _) = place.good(&format!("eval again-{run} --json"));
        let lines: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&lines[0]["loss"], &lines[0]["task"]),
            (&first["loss"], &first["task"])
        );
        let said = place.refused(&format!(
            "weights import {run}.safetensors --model gated_delta_net --out other"
        ));
        assert!(
            said.lines().count() == 1 && said.contains("it holds gla"),
            "{said}"
        );
        let deep = format!("weights import {run}.safetensors --layers 9 --out other");
        let said = place.refused(&deep);
        assert!(said.lines().count() < 25 && said.contains(" more"), "{said}");
        // An export that is there stays, and the run's own files too.
        let said = place.refused(&format!("weights export {run} {run}.safetensors"));
        assert!(said.contains("--force"), "{said}");
        place.good(&format!("weights export {run} {run}.safetensors --force"));
        let own = format!("{run}/checkpoint-00000005.safetensors");
        assert!(
            place
                .refused(&format!("weights export {run} {own} --force"))
                .contains("own files")
        );
        place.good(&format!("weights export {run} /dev/null"));
    }
}

#[test]
fn weights_of_others_get_one_line() {
    let place = Place::new();
    let import = "--model gated_delta_net --task small.toml --set data.length=16 --out";
    place.good(&format!("weights import plain.safetensors {import} plain"));
    let (_, said) = place.good(&format!(
        "weights import prefix-module.safetensors {import} prefixed"
    ));
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("`module.`"), "{said}");
    let said = place.refused("weights import plain.safetensors --model gated_delta_net --out other");
    assert!(said.lines().count() == 1 && said.contains("--task"), "{said}");
}

#[test]
fn tables_keep_to_eighty_columns_and_values_to_their_limits() {
    let place = Place::new();
    let helps = [
        "",
        "train",
        "eval",
        "sweep",
        "report",
        "runs",
        "check",
        "bench",
        "devices",
        "models",
        "weights import",
        "weights export",
        "grammar",
        "data show",
        "data export",
        "data import",
        "completions",
        "man",
    ];
    let helps = helps.map(|command| format!("{command} --help").trim_start().to_owned());
    for table in ["models", "devices"]
        .into_iter()
        .chain(helps.iter().map(String::as_str))
    {
        let (text, _) = place.good(table);
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= 80, "{widest} columns:\n{text}");
    }
    let long = place.good("models -v").0.lines().map(str::len).max().unwrap();
    assert!(long > 80);
    assert!(place.refused("models --d-model 7").contains("--d-model = 7"));
    let said = place.refused("train small.toml --model gla --lr -1");
    assert!(
        said.contains("train.lr = -1: allowed: a finite number above 0"),
        "{said}"
    );
    let (help, _) = place.good("train --help");
    for word in ["gated_delta_net", "0.001", "476"] {
        assert!(help.contains(word), "{word} in {help}");
    }
    let (_, said) = place.good("train small.toml --model gla --steps 20 --out scaled");
    assert!(said.contains("warm-up of 2 updates: 4 of 50"), "{said}");
    fs::create_dir(place.path("none")).unwrap();
    assert!(
        place
            .refused("check --fixtures none --fixtures-only")
            .contains("holds no golden files")
    );
}

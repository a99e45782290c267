//! `eval` on what was trained.

use super::{Place, error, result};
use crate::common::TASK;
use assert_cmd::Command;
use serde_json::Value;
use std::fs;

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

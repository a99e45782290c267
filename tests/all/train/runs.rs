//! What a run does and leaves.

#[cfg(feature = "gpu")]
use super::MODEL;
use super::{Place, assert_same_run, error, result};
#[cfg(feature = "gpu")]
use crate::common::skipped::skipped;
use serde_json::Value;
use std::fs;

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

#[cfg(feature = "gpu")]
#[test]
fn the_first_gpu_trains_as_the_cpu_does() {
    if selectiv::gpu::adapter::adapters().is_empty() {
        skipped("the_first_gpu_trains_as_the_cpu_does", "no GPU adapter");
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

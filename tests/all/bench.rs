//! `selectiv bench` as a user runs it, on the CPU. Times are not judged.

use assert_cmd::Command;
use serde_json::Value;
use std::fs;
use tempfile::TempDir;

/// Runs `selectiv bench ARGS --device cpu` in a folder.
fn bench(dir: &TempDir, args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("selectiv").expect("cargo built it");
    // Without this some GPU drivers print an error line of their own.
    command.current_dir(dir.path()).env("XDG_RUNTIME_DIR", dir.path());
    command.arg("bench").args(args).args(["--device", "cpu"]);
    command
}

fn stdout(mut command: Command) -> String {
    let output = command.assert().success().get_output().stdout.clone();
    String::from_utf8(output).expect("results are text")
}

/// What a failing command says; it prints no result.
fn refusal(mut command: Command) -> String {
    let assert = command.assert().code(2).stdout("");
    String::from_utf8(assert.get_output().stderr.clone()).expect("errors are text")
}

#[test]
fn json_has_the_roof_and_both_passes_and_compares_with_itself() {
    let dir = tempfile::tempdir().unwrap();
    let text = stdout(bench(&dir, &["--op", "swiglu", "--quick", "--json", "-q"]));
    let report: Value = serde_json::from_str(&text).unwrap();
    for key in ["copy_gb_s", "product_gflop_s"] {
        assert!(report[key].as_f64().unwrap() > 0.0, "{key} in {report}");
    }
    assert!(report["device"].as_str().unwrap().starts_with("CPU"));
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    let entries = report["entries"].as_array().unwrap();
    let passes: Vec<&str> = entries.iter().map(|e| e["pass"].as_str().unwrap()).collect();
    assert_eq!(passes, ["forward", "training"]);
    for entry in entries {
        assert_eq!(entry["op"], "swiglu");
        for key in [
            "median_ms",
            "min_ms",
            "max_ms",
            "gb_s",
            "gflop_s",
            "copy_share",
            "product_share",
        ] {
            assert!(entry[key].as_f64().unwrap() > 0.0, "{key} in {entry}");
        }
    }
    fs::write(dir.path().join("before.json"), &text).unwrap();
    let args = ["--op", "swiglu", "--quick", "--compare", "before.json"];
    let table = stdout(bench(&dir, &args));
    let compared = table.split("compared").nth(1).expect("a table of the comparison");
    assert_eq!(compared.matches("swiglu").count(), 2, "{table}");
    let text = stdout(bench(&dir, &[&args[..], &["--json", "-q"]].concat()));
    let report: Value = serde_json::from_str(&text).unwrap();
    for entry in report["compared"].as_array().unwrap() {
        assert!(entry["speedup"].as_f64().unwrap() > 0.0);
        assert!(["faster", "slower", "same"].contains(&entry["verdict"].as_str().unwrap()));
    }
}

#[test]
fn a_step_has_its_size_and_the_share_of_each_op() {
    let dir = tempfile::tempdir().unwrap();
    let sizes = [
        "--d-model",
        "16",
        "--layers",
        "1",
        "--batch",
        "2",
        "--length",
        "8",
    ];
    let args = [&["--model", "gated_delta_net", "--json", "-q"][..], &sizes].concat();
    let report: Value = serde_json::from_str(&stdout(bench(&dir, &args))).unwrap();
    let entries = report["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["name"], "gated_delta_net d16 L1 B2 T8");
    let step = &entries[0]["step"];
    for key in ["params", "tokens_s", "peak_bytes", "launches", "first_step_s"] {
        assert!(step[key].as_f64().unwrap() > 0.0, "{key} in {step}");
    }
    let shares: f64 = step["ops"]
        .as_object()
        .unwrap()
        .values()
        .map(|share| share.as_f64().unwrap())
        .sum();
    assert!((shares - 1.0).abs() < 1e-6, "{shares}");
}

#[test]
fn names_that_are_not_there_are_refused_with_those_that_are() {
    let dir = tempfile::tempdir().unwrap();
    for (args, what, allowed) in [
        (["--op", "softmax"], "op", "gated_delta_rule"),
        (["--model", "lstm"], "model", "gated_delta_net"),
        (["--suite", "gemm"], "suite", "recurrence"),
    ] {
        let said = refusal(bench(&dir, &args));
        assert!(said.contains(&format!("unknown {what} `{}`", args[1])), "{said}");
        assert!(said.contains(allowed), "{said}");
    }
    let said = refusal(bench(&dir, &["--op", "swiglu", "--compare", "none.json"]));
    assert!(said.contains("none.json"), "{said}");
    fs::write(dir.path().join("other.json"), "{\"version\": 1}").unwrap();
    let said = refusal(bench(&dir, &["--op", "swiglu", "--compare", "other.json"]));
    assert!(said.contains("no output of `selectiv bench --json`"), "{said}");
}

#[test]
fn a_variant_that_is_not_there_is_refused_with_those_that_are() {
    let dir = tempfile::tempdir().unwrap();
    let text = refusal(bench(&dir, &["--op", "linear", "--variant", "coop", "--quick"]));
    assert!(
        text.contains("unknown variant `coop`: allowed: none: the CPU has no variants"),
        "{text}"
    );
}

#[test]
fn sizes_of_a_model_need_a_model() {
    let dir = tempfile::tempdir().unwrap();
    let said = refusal(bench(&dir, &["--op", "swiglu", "--d-model", "64"]));
    assert!(said.contains("--model"), "{said}");
}

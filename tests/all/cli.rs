//! The commands that print: what scripts rely on.

use assert_cmd::Command;
use serde_json::Value;

fn selectiv(args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("selectiv").unwrap();
    command.env("XDG_RUNTIME_DIR", std::env::temp_dir()).args(args);
    command
}

fn stdout(args: &[&str]) -> String {
    let output = selectiv(args).assert().success().get_output().stdout.clone();
    String::from_utf8(output).unwrap()
}

fn refused(args: &[&str]) -> String {
    let output = selectiv(args).assert().code(2).get_output().clone();
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn check_passes_the_built_in_goldens_on_the_cpu() {
    let text = stdout(&["check", "--device", "cpu", "--fixtures-only", "--quiet"]);
    let last = text.lines().last().unwrap();
    let words: Vec<&str> = last.split([' ', ',']).filter(|w| !w.is_empty()).collect();
    assert_eq!(words[1..4], ["passed", "0", "failed"], "{last}");
    assert!(words[0].parse::<u32>().unwrap() > 100, "{last}");
    assert_eq!(words[5], "skipped", "{last}");
}

/// An error means something only beside its limit.
#[test]
fn check_says_how_large_an_error_may_be() {
    let output = selectiv(&["check", "--device", "cpu", "--fixtures-only"])
        .output()
        .unwrap();
    let (table, log) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    let mut passed = log.lines().filter(|line| line.starts_with("passed ")).peekable();
    assert!(passed.peek().is_some(), "{log}");
    assert!(
        passed.all(|line| line.contains(" error ") && line.contains(", allowed ")),
        "{log}"
    );
    assert!(table.contains(" of 1e-5"), "{table}");
}

#[test]
fn check_as_json_counts_every_check() {
    let json: Value = serde_json::from_str(&stdout(&[
        "check",
        "--device",
        "cpu",
        "--fixtures-only",
        "--quiet",
        "--json",
    ]))
    .unwrap();
    let count = |status: &str| {
        json["checks"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|c| c["status"] == status)
            .count()
    };
    for status in ["passed", "failed", "skipped"] {
        assert_eq!(json[status].as_u64().unwrap() as usize, count(status));
    }
    assert!(json["commit"].as_str().is_some_and(|commit| !commit.is_empty()));
    assert!(json["checks"][0]["allowed"].as_f64().unwrap() > 0.0);
}

/// A changed number in a golden file must be seen.
#[test]
fn check_fails_on_a_wrong_golden() {
    let dir = tempfile::tempdir().unwrap();
    let ops = dir.path().join("ops");
    std::fs::create_dir(&ops).unwrap();
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ops");
    let mut index: Value =
        serde_json::from_slice(&std::fs::read(fixtures.join("index.json")).unwrap()).unwrap();
    let entries = index["entries"].as_array_mut().unwrap();
    entries.retain(|e| e["name"] == "l2norm" && e["case"] == "odd");
    let file = entries[0]["file"].as_str().unwrap().to_owned();
    let mut bytes = std::fs::read(fixtures.join(&file)).unwrap();
    // The top byte of the last f32 that is large enough to matter.
    let at = (0..bytes.len())
        .rev()
        .find(|i| i % 4 == bytes.len() % 4 + 3 && bytes[*i] == 0x3f)
        .unwrap_or(bytes.len() - 1);
    bytes[at] ^= 0x80;
    std::fs::write(ops.join(&file), bytes).unwrap();
    std::fs::write(ops.join("index.json"), index.to_string()).unwrap();
    let args = [
        "check",
        "--device",
        "cpu",
        "--fixtures-only",
        "--quiet",
        "--fixtures",
        dir.path().to_str().unwrap(),
    ];
    let output = selectiv(&args).assert().code(1).get_output().stdout.clone();
    let text = String::from_utf8(output).unwrap();
    assert!(text.contains("FAILED   l2norm odd"), "{text}");
    assert!(text.ends_with("0 passed, 2 failed, 0 skipped\n"), "{text}");
}

#[test]
fn check_refuses_a_folder_that_is_not_there() {
    assert!(
        refused(&["check", "--fixtures", "no/such/folder", "--device", "cpu"]).contains("no/such/folder")
    );
}

#[test]
fn devices_lists_at_least_the_cpu() {
    let list: Value = serde_json::from_str(&stdout(&["devices", "--json"])).unwrap();
    assert_eq!(list.as_array().unwrap().last().unwrap()["device"], "cpu");
    assert!(stdout(&["devices"]).contains("cpu"));
}

#[test]
fn models_count_what_the_paper_counts() {
    let list: Value = serde_json::from_str(&stdout(&["models", "--json", "--d-model", "1024"])).unwrap();
    let params = |name: &str| {
        let model = list
            .as_array()
            .unwrap()
            .iter()
            .find(|m| m["name"] == name)
            .unwrap();
        assert_eq!(model["d_model"], 1024);
        model["params"].as_u64().unwrap()
    };
    // models.md 2, in millions: 136.035 and 69.074.
    assert_eq!(params("transformer"), 136_034_889);
    assert_eq!(params("gated_delta_net"), 69_073_601);
}

#[test]
fn models_say_why_a_width_is_refused() {
    let text = stdout(&["models", "--d-model", "648"]);
    assert!(text.contains("rotary"), "{text}");
}

#[test]
fn tables_fit_a_terminal_and_break_between_words() {
    let text = stdout(&["models"]);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    for word in [
        "gated_delta_product",
        "parameters",
        "data-dependent",
        "read-out",
        "softmax",
    ] {
        assert!(text.contains(word), "no {word} in {text}");
    }
    let text = stdout(&["check", "--device", "cpu", "--fixtures-only"]);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(
        text.contains("attention_rope_qknorm") && text.contains("short_conv_silu_bias"),
        "{text}"
    );
}

#[test]
fn grammar_refuses_impossible_sizes() {
    let args = [
        "grammar",
        "--vocab",
        "54",
        "--ambiguities",
        "3",
        "--depth",
        "3",
        "--seed",
        "1",
    ];
    assert!(refused(&args).contains("vocab"));
}

#[test]
fn unknown_devices_and_models_are_listed() {
    assert!(refused(&["train", "quickstart", "--model", "lstm"]).contains("gated_delta_net"));
    assert!(
        refused(&["train", "quickstart", "--model", "transformer", "--device", "tpu"]).contains("auto, cpu")
    );
}

#[test]
fn version_names_commit_and_libraries() {
    let text = stdout(&["--version"]);
    assert!(
        text.contains("commit") && text.contains("wgpu 30") && text.contains("naga 30"),
        "{text}"
    );
}

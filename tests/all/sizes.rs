//! What is too large, or does not end, is refused in words before it is allocated or read.

use assert_cmd::Command;
use std::fs;
use std::path::Path;

/// A small task; `set` says what is not small.
const TASK: &str = "[grammar]\nvocab = 5\nambiguities = 3\ndepth = 3\n[data]\nlength = 12\ntrain = 40\nvalidation = 4\ntest = 4\n\
                    [model]\nd_model = 16\nlayers = 1\n[train]\nbatch = 2\nsteps = 4\n";

/// Runs the program in a folder that holds `task.toml`; its exit code and what it says on standard error.
fn run(dir: &Path, args: &[&str]) -> (i32, String) {
    fs::write(dir.join("task.toml"), TASK).unwrap();
    let mut command = Command::cargo_bin("selectiv").unwrap();
    let output = command.current_dir(dir).args(args).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap_or(-1), stderr)
}

#[test]
fn runs_that_no_machine_holds_say_what_they_would_take() {
    let dir = tempfile::tempdir().unwrap();
    let train = [
        "train",
        "task.toml",
        "--model",
        "gated_delta_net",
        "--device",
        "cpu",
    ];
    for (set, what) in [
        // 4 banks of 8e10 parameters.
        (
            &["model.d_model=8192", "model.layers=200"][..],
            "the tensors of a program takes",
        ),
        (
            &[
                "train.batch=100000000",
                "data.train=100000000",
                "data.length=2000",
            ],
            "the samples of a batch of 100000000 takes",
        ),
        (
            &["train.batch=4294967295", "data.train=4294967295"],
            "the samples of a batch of 4294967295 takes",
        ),
        (
            &["data.test=4294967295"],
            "the test samples of the data's statistics takes",
        ),
    ] {
        let sets = set.iter().flat_map(|set| ["--set", set]);
        for dry in [&["--dry-run"][..], &["--out", "run"]] {
            let args: Vec<&str> = train.iter().chain(dry).copied().chain(sets.clone()).collect();
            let (code, stderr) = run(dir.path(), &args);
            assert_eq!(code, 2, "{set:?}: {stderr}");
            assert!(
                stderr.contains(what) && stderr.contains("free"),
                "{set:?}: {stderr}"
            );
            assert!(!dir.path().join("run").exists(), "{set:?} wrote something");
        }
    }
}

#[test]
fn sequences_that_no_machine_holds_are_not_measured() {
    let dir = tempfile::tempdir().unwrap();
    let grammar = "grammar --vocab 5 --ambiguities 3 --depth 3 --seed 1 --stats";
    let many = ["--sequences", "4294967295", "--length", "10000"];
    let args: Vec<&str> = grammar.split(' ').chain(many).collect();
    let (code, stderr) = run(dir.path(), &args);
    assert_eq!(code, 2, "{stderr}");
    assert!(
        stderr.contains("the sequences that are measured takes"),
        "{stderr}"
    );
}

#[test]
fn sizes_beyond_what_models_have_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for layers in [
        "0",
        "1025",
        "65536",
        "18446744073709551615",
        "18446744073709551616",
    ] {
        let (code, stderr) = run(dir.path(), &["models", "--layers", layers]);
        assert_eq!(code, 2, "{stderr}");
        assert!(
            stderr.contains("--layers") && stderr.contains("an integer from 1 to 1024"),
            "{stderr}"
        );
    }
    let bench = [
        "bench",
        "--model",
        "gla",
        "--device",
        "cpu",
        "--batch",
        "4294967295",
    ];
    assert_eq!(run(dir.path(), &bench).0, 2);
    for size in [
        ["--layers", "65536"],
        ["--d-model", "65537"],
        ["--length", "4294967295"],
    ] {
        let (code, stderr) = run(
            dir.path(),
            &[&["bench", "--model", "gla", "--device", "cpu"], &size[..]].concat(),
        );
        assert_eq!(code, 2, "{size:?}: {stderr}");
    }
}

#[test]
fn golden_files_cannot_ask_for_more_than_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let ops = dir.path().join("ops");
    fs::create_dir(&ops).unwrap();
    let check = ["check", "--fixtures", ".", "--fixtures-only", "--device", "cpu"];
    let header = |shape: &str, bytes: usize| {
        let text = format!(r#"{{"input/x":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{bytes}]}}}}"#);
        [
            &(text.len() as u64).to_le_bytes()[..],
            text.as_bytes(),
            &vec![0; bytes],
        ]
        .concat()
    };
    let index =
        r#"{"entries":[{"name":"l2norm","case":"tiny","file":"x.safetensors","attrs":{"eps":1e-6}}]}"#;
    fs::write(ops.join("index.json"), index).unwrap();
    for (shape, bytes) in [
        ("[0,4611686018427387904]", 0),
        ("[4294967296,0]", 0),
        ("[1,0,3]", 0),
    ] {
        fs::write(ops.join("x.safetensors"), header(shape, bytes)).unwrap();
        let (code, stderr) = run(dir.path(), &check);
        assert_eq!(code, 2, "{shape}: {stderr}");
        assert!(stderr.contains("allowed: extents of 1 to"), "{shape}: {stderr}");
    }
    fs::write(ops.join("index.json"), vec![b' '; 17 << 20]).unwrap();
    let (code, stderr) = run(dir.path(), &check);
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("larger than 16 MiB"), "{stderr}");
}

#[cfg(target_os = "linux")]
#[test]
fn devices_that_never_end_are_not_read_to_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let import = [
        "weights",
        "import",
        "/dev/zero",
        "--model",
        "gated_delta_net",
        "--out",
        "run",
    ];
    let task = ["--task", "task.toml"];
    for args in [
        &[&import[..], &task].concat()[..],
        &["sweep", "/dev/zero", "--dry-run"],
        &[
            "train",
            "/dev/zero",
            "--model",
            "gla",
            "--dry-run",
            "--device",
            "cpu",
        ],
        &[
            "bench",
            "--op",
            "rope",
            "--compare",
            "/dev/zero",
            "--device",
            "cpu",
            "--quick",
        ],
    ] {
        let (code, stderr) = run(dir.path(), args);
        assert_eq!(code, 2, "{args:?}: {stderr}");
        assert!(stderr.contains("larger than"), "{args:?}: {stderr}");
    }
}

/// However little a process may address, it ends in order.
#[cfg(target_os = "linux")]
#[test]
fn small_address_spaces_are_said() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("task.toml"), TASK).unwrap();
    let program = assert_cmd::cargo::cargo_bin("selectiv");
    let mut finished = 0;
    for mib in [60, 100, 150, 200, 250, 300, 350, 400, 500, 700, 1000, 2000, 4000] {
        let train = "train task.toml --model gla --device cpu --out run";
        let script = format!(
            "ulimit -v {} && exec {} {train}{mib}",
            mib << 10,
            program.display()
        );
        let mut command = std::process::Command::new("sh");
        let output = command
            .current_dir(dir.path())
            .args(["-c", &script])
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let code = output.status.code();
        // 127: the system could not even load the program.
        assert!(
            matches!(code, Some(0 | 2 | 3 | 127)),
            "{mib} MiB: {code:?}: {stderr}"
        );
        finished += usize::from(code == Some(0));
    }
    assert!(finished > 0, "a small run fits in 4 GiB");
}

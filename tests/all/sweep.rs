//! Sweeps as a whole: the folder is the truth, whatever is killed; processes share; bad files are refused.

use crate::common::skipped::skipped;
use crate::common::{Folder, TASK};
use assert_cmd::Command;
use serde_json::Value;
use std::collections::BTreeMap;
#[cfg(feature = "gpu")]
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const SWEEP: &str = r#"
tasks = ["tiny.toml"]
models = ["gated_delta_net", "gla"]
select = "train.lr"
[grid]
"train.lr" = [0.01, 0.02]
seed = [1, 2]
"#;
/// Columns that depend on the time of day.
const TIMES: [&str; 3] = ["wall_s", "tokens_per_s", "commit"];

struct Place {
    folder: Folder,
}

impl Place {
    fn new(sweep: &str) -> Self {
        Self {
            folder: Folder::new(&[("tiny.toml", TASK), ("sweep.toml", sweep)]),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path(name)
    }

    fn selectiv(&self, args: &[&str]) -> Command {
        let mut command = self.folder.selectiv();
        command.args(args);
        command
    }

    fn sweep(&self, out: &str) -> Command {
        self.selectiv(&["sweep", "sweep.toml", "--out", out, "--device", "cpu", "-q"])
    }

    fn start(&self, out: &str) -> Child {
        self.start_with(out, &["-q"], Stdio::null())
    }

    fn start_with(&self, out: &str, flags: &[&str], stderr: Stdio) -> Child {
        std::process::Command::new(env!("CARGO_BIN_EXE_selectiv"))
            .current_dir(self.folder.path(""))
            .args(["sweep", "sweep.toml", "--out", out, "--device", "cpu"])
            .args(flags)
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap()
    }

    fn refused(&self, args: &[&str]) -> String {
        let output = self.selectiv(args).assert().code(2).get_output().clone();
        assert!(output.stdout.is_empty());
        String::from_utf8(output.stderr).unwrap()
    }

    /// Rows of `results.csv` by run.
    fn results(&self, out: &str) -> BTreeMap<String, BTreeMap<String, String>> {
        let mut table = csv::Reader::from_path(self.path(out).join("results.csv")).unwrap();
        let columns = table.headers().unwrap().clone();
        let row = |record: csv::StringRecord| -> BTreeMap<String, String> {
            columns
                .iter()
                .map(str::to_owned)
                .zip(record.iter().map(str::to_owned))
                .collect()
        };
        table
            .records()
            .map(|record| row(record.unwrap()))
            .map(|row| (row["run_id"].clone(), row))
            .collect()
    }

    /// The same without what depends on the time of day.
    fn numbers(&self, out: &str) -> BTreeMap<String, BTreeMap<String, String>> {
        let mut rows = self.results(out);
        for row in rows.values_mut() {
            row.retain(|column, _| !TIMES.contains(&column.as_str()));
        }
        rows
    }
}

/// Waits until so many runs of a sweep are done.
fn wait_for_results(place: &Place, out: &str, runs: usize) {
    let start = Instant::now();
    let done = || {
        let folders = fs::read_dir(place.path(out)).into_iter().flatten().flatten();
        folders
            .filter(|folder| folder.path().join("result.json").is_file())
            .count()
    };
    while done() < runs {
        assert!(
            start.elapsed() < Duration::from_secs(300),
            "{} of {runs} runs",
            done()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn killed_twice_and_started_again_it_gives_the_same_table() {
    let place = Place::new(SWEEP);
    place.sweep("whole").assert().success();
    for runs in [2, 5] {
        let mut child = place.start("cut");
        wait_for_results(&place, "cut", runs);
        std::thread::sleep(Duration::from_millis(60));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    place.sweep("cut").assert().success();
    let (whole, cut) = (place.numbers("whole"), place.numbers("cut"));
    assert_eq!(whole.len(), 8);
    assert_eq!(whole, cut);
    let first = &whole["tiny-gated_delta_net-lr=0.01-seed=1"];
    assert_eq!(
        (first["status"].as_str(), first["train.lr"].as_str()),
        ("done", "0.01")
    );
    for column in [
        "accuracy",
        "ceiling",
        "baseline_n2",
        "state_bytes",
        "peak_bytes",
        "adapter",
    ] {
        assert!(!first[column].is_empty(), "{column}");
    }
    // One learning rate a model is the best one.
    let selected = whole.values().filter(|row| row["selected"] == "true").count();
    assert_eq!(selected, 4);
    let metrics = fs::read_to_string(place.path("cut/metrics.csv")).unwrap();
    let mut lines = metrics.lines();
    assert_eq!(lines.next().unwrap(), "run_id,step,tokens,split,metric,value");
    assert!(
        lines.any(|line| line.contains(",validation,accuracy,")),
        "{metrics}"
    );
    // Nothing but numbers stays, and nothing is claimed.
    let run = place.path("cut/tiny-gla-lr=0.02-seed=2");
    let names: Vec<String> = fs::read_dir(run)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        !names
            .iter()
            .any(|name| name.starts_with("checkpoint") || name == "claim"),
        "{names:?}"
    );
    assert!(names.contains(&"explained.json".to_owned()), "{names:?}");
    let output = place
        .selectiv(&["sweep", "cut", "--json"])
        .assert()
        .success()
        .get_output()
        .clone();
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["cells"].as_array().unwrap().len(), 4);
    assert_eq!(summary["cells"][0]["accuracy"]["n"], 2);
    assert!(summary["cells"][0]["by_position"].as_array().unwrap().len() > 1);
    assert_eq!(summary["comparisons"].as_array().unwrap().len(), 1);
    assert!(summary["comparisons"][0]["accuracy"]["difference"]["half_width"].is_number());
    let output = place
        .selectiv(&["sweep", "cut", "--table"])
        .assert()
        .success()
        .get_output()
        .clone();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("gated_delta_net - gla"), "{text}");
}

#[test]
fn two_processes_share_a_sweep() {
    let place = Place::new(SWEEP);
    let mut children = [place.start("shared"), place.start("shared")];
    for child in &mut children {
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    place.sweep("alone").assert().success();
    assert_eq!(place.numbers("shared"), place.numbers("alone"));
}

/// Two adapters of one machine: software Vulkan and the CPU, each with runs of its own.
#[cfg(feature = "gpu")]
#[test]
fn two_devices_share_a_sweep() {
    if selectiv::gpu::adapter::adapters().is_empty() {
        skipped("two_devices_share_a_sweep", "no GPU adapter");
        return;
    }
    let place = Place::new(&SWEEP.replace("[1, 2]", "[1, 2, 3]"));
    let devices = ["sweep", "sweep.toml", "--out", "out", "--device", "gpu:0,cpu"];
    let output = place.selectiv(&devices).assert().success().get_output().clone();
    let rows = place.results("out");
    assert!(rows.len() == 12 && rows.values().all(|row| row["status"] == "done"));
    let adapters: BTreeSet<&str> = rows.values().map(|row| row["adapter"].as_str()).collect();
    assert_eq!(adapters.len(), 2, "{adapters:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    for adapter in adapters {
        let said = |line: &str| line.contains(adapter) && line.contains("idle");
        assert!(stderr.lines().any(said), "{adapter}: {stderr}");
    }
}

#[test]
fn a_file_that_grew_runs_its_new_rows_and_a_changed_one_is_refused() {
    let place = Place::new(SWEEP);
    let small = SWEEP.replace("[1, 2]", "[1]");
    fs::write(place.path("sweep.toml"), &small).unwrap();
    place.sweep("out").assert().success();
    let before = fs::metadata(place.path("out/tiny-gla-lr=0.01-seed=1/result.json"))
        .unwrap()
        .modified()
        .unwrap();
    fs::write(place.path("sweep.toml"), SWEEP).unwrap();
    place.sweep("out").assert().success();
    assert_eq!(place.results("out").len(), 8);
    let after = fs::metadata(place.path("out/tiny-gla-lr=0.01-seed=1/result.json"))
        .unwrap()
        .modified()
        .unwrap();
    assert_eq!(before, after, "what is done stays done");
    let args = ["sweep", "sweep.toml", "--out", "out", "--device", "cpu"];
    fs::write(
        place.path("sweep.toml"),
        format!("{SWEEP}[set]\n\"train.clip\" = 2.0\n"),
    )
    .unwrap();
    let message = place.refused(&args);
    assert!(message.contains("train.clip = 1.0, now 2.0"), "{message}");
    fs::write(place.path("sweep.toml"), &small).unwrap();
    let message = place.refused(&args);
    assert!(message.contains("no longer has runs"), "{message}");
    // The folder alone goes on with what it is.
    place
        .selectiv(&["sweep", "out", "--device", "cpu", "-q"])
        .assert()
        .success();
}

#[test]
fn runs_that_differ_in_the_test_gap_alone_train_once() {
    let place = Place::new(
        "tasks = [\"tiny.toml\"]\nmodels = [\"gla\"]\n[grid]\n\"data.test_gap\" = [0.1, 0.3]\nseed = [1]\n",
    );
    place.sweep("out").assert().success();
    let rows = place.results("out");
    assert_eq!(rows.len(), 2);
    let [a, b]: [_; 2] = rows.values().collect::<Vec<_>>().try_into().unwrap();
    assert_eq!(a["wall_s"], b["wall_s"], "the same training");
    assert_ne!(a["loss"], b["loss"]);
    let configs: Vec<String> = rows
        .keys()
        .map(|id| fs::read_to_string(place.path("out").join(id).join("config.toml")).unwrap())
        .collect();
    assert!(
        configs
            .iter()
            .filter(|text| text.contains("with the weights of"))
            .count()
            == 1,
        "{configs:?}"
    );
}

#[test]
fn failed_and_diverged_runs_are_recorded_and_the_rest_goes_on() {
    let place = Place::new(
        "tasks = [\"tiny.toml\"]\nmodels = [\"mamba\"]\n[grid]\n\"train.lr\" = [0.01, 1e30]\nseed = [1]\n",
    );
    place.sweep("out").assert().code(1);
    let rows = place.results("out");
    let status: Vec<&str> = rows.values().map(|row| row["status"].as_str()).collect();
    assert_eq!(status, ["done", "diverged"]);
    let failure = fs::read_to_string(
        place
            .path("out")
            .join(rows.keys().nth(1).unwrap())
            .join("failure.json"),
    )
    .unwrap();
    assert!(failure.contains("diverged"), "{failure}");
    // It would diverge again: it is not tried again.
    let start = fs::read_to_string(place.path("out/results.csv")).unwrap();
    place.sweep("out").assert().code(1);
    assert_eq!(start, fs::read_to_string(place.path("out/results.csv")).unwrap());
}

/// The sweep files of the repository: how many runs they are.
#[test]
fn the_shipped_grids_are_whole() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tasks/sweeps");
    for (name, runs, trainings) in [
        ("quick", 24, 24),
        ("small", 112, 98),
        // Task 1: 6 models x 9 widths and one x 7, 7 grammars, 4 seeds, 6 rates and warm-ups; task 2: the same on one grammar;
        // task 3: 8 and 6 widths; task 4: 7 models x 2 widths, 4 seeds, 4 rates and warm-ups.
        (
            "paper",
            61 * 7 * 24 + 61 * 24 + 54 * 24 + 14 * 16,
            61 * 7 * 24 + 61 * 24 + 54 * 24,
        ),
    ] {
        let plan = selectiv::sweep::Plan::from_file(&folder.join(format!("{name}.toml"))).unwrap();
        assert_eq!(
            (plan.runs.len(), plan.groups().len()),
            (runs, trainings),
            "{name}"
        );
    }
}

#[test]
fn a_dry_run_counts_and_writes_nothing() {
    let place = Place::new(&SWEEP.replace("[1, 2]", "[1, 2]\n\"data.test_gap\" = [0.1, 0.2]"));
    let output = place
        .selectiv(&[
            "sweep",
            "sweep.toml",
            "--out",
            "out",
            "--dry-run",
            "--device",
            "cpu",
            "-q",
        ])
        .assert()
        .success()
        .get_output()
        .clone();
    let text = String::from_utf8(output.stdout).unwrap();
    let row = |name: &str| {
        text.lines()
            .find(|line| line.trim().starts_with(name))
            .unwrap_or_else(|| panic!("{name}: {text}"))
    };
    assert!(row("runs").ends_with("16"), "{text}");
    assert!(row("trainings").ends_with('8'), "{text}");
    for name in ["hours", "bytes on the disk", "time of their updates"] {
        row(name);
    }
    assert!(!place.path("out").exists());
}

#[test]
fn bad_sweeps_are_refused_and_leave_nothing() {
    let place = Place::new(SWEEP);
    for (text, expected) in [
        (SWEEP.replace("gla", "lstm"), "lstm"),
        (SWEEP.replace("train.lr", "train.speed"), "train.speed"),
        (SWEEP.replace("[1, 2]", "[]"), "sweep.toml:7: seed = []"),
        (SWEEP.replace("[1, 2]", "[1, 1]"), "two runs have the name"),
        (SWEEP.replace("tiny.toml", "none.toml"), "none.toml"),
        (SWEEP.replace("0.02", "-1.0"), "train.lr = -1"),
        (
            "tasks = [\"tiny.toml\"]\nmodels = [\"gla\"]\n[grid]\n".to_owned(),
            "grid = empty",
        ),
    ] {
        fs::write(place.path("sweep.toml"), text).unwrap();
        let message = place.refused(&["sweep", "sweep.toml", "--out", "out", "--device", "cpu"]);
        assert!(message.contains(expected), "{expected}: {message}");
        assert!(!place.path("out").exists());
    }
    fs::write(place.path("sweep.toml"), SWEEP).unwrap();
    for (args, expected) in [
        (&["sweep", "sweep.toml", "--device", "cpu"][..], "--out"),
        (
            &["sweep", "sweep.toml", "--out", "out", "--device", "gpu:99"],
            "device",
        ),
        (
            &[
                "sweep",
                "sweep.toml",
                "--out",
                "out",
                "--device",
                "cpu",
                "--only",
                "none",
            ],
            "--only",
        ),
        (
            &["sweep", "sweep.toml", "--out", ".", "--device", "cpu"],
            "holds other files",
        ),
        (&["sweep", "none.toml", "--out", "out"], "none.toml"),
        (&["sweep", "."], "holds no sweep"),
    ] {
        let message = place.refused(args);
        assert!(message.contains(expected), "{expected}: {message}");
    }
    assert!(!place.path("out").exists());
}

/// Whether a SLURM answers here.
fn has_slurm() -> bool {
    let asked = std::process::Command::new("sinfo")
        .args(["-h", "-o", "%T"])
        .output();
    asked.is_ok_and(|output| output.status.success() && !output.stdout.is_empty())
}

fn slurm(args: &[&str]) -> String {
    let output = std::process::Command::new(args[0])
        .args(&args[1..])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Waits until SLURM has nothing of a job left.
fn wait_for_job(job: &str) {
    let start = Instant::now();
    while !slurm(&["squeue", "-h", "-j", job]).is_empty() {
        assert!(
            start.elapsed() < Duration::from_secs(600),
            "job {job} does not end"
        );
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn slurm_runs_cancels_and_resubmits() {
    if !has_slurm() {
        skipped("slurm_runs_cancels_and_resubmits", "no SLURM answers here");
        return;
    }
    let place = Place::new(SWEEP);
    let args = [
        "sweep",
        "sweep.toml",
        "--out",
        "out",
        "--device",
        "cpu",
        "--slurm-at-once",
        "2",
        "-q",
    ];
    let output = place
        .selectiv(&args)
        .args(["--submit", "--slurm-time", "00:10:00"])
        .assert()
        .success()
        .get_output()
        .clone();
    let job = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    wait_for_results(&place, "out", 1);
    slurm(&["scancel", &job]);
    wait_for_job(&job);
    let output = place
        .selectiv(&[
            "sweep",
            "out",
            "--resubmit",
            "--device",
            "cpu",
            "--slurm-time",
            "00:10:00",
            "-q",
        ])
        .assert()
        .success()
        .get_output()
        .clone();
    let job = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    wait_for_job(&job);
    place.sweep("alone").assert().success();
    assert_eq!(place.numbers("out"), place.numbers("alone"));
    let output = place
        .selectiv(&["sweep", "out", "--resubmit", "-q"])
        .assert()
        .success()
        .get_output()
        .clone();
    assert!(output.stdout.is_empty(), "nothing is missing");
}

#[test]
#[cfg(unix)]
fn told_that_time_is_up_it_leaves_with_75_and_goes_on_later() {
    let place = Place::new(&SWEEP.replace("[grid]", "[set]\n\"train.steps\" = 4000\n[grid]"));
    let said = fs::File::create(place.path("said.txt")).unwrap();
    let mut child = place.start_with("out", &[], said.into());
    let start = Instant::now();
    let begun = || {
        let folders = fs::read_dir(place.path("out")).into_iter().flatten().flatten();
        folders
            .into_iter()
            .any(|f| fs::metadata(f.path().join("metrics.jsonl")).is_ok_and(|m| m.len() > 0))
    };
    while !begun() {
        assert!(start.elapsed() < Duration::from_secs(120));
        std::thread::sleep(Duration::from_millis(20));
    }
    let told = std::process::Command::new("kill")
        .args(["-USR1", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(told.success());
    assert_eq!(child.wait().unwrap().code(), Some(75));
    let said = fs::read_to_string(place.path("said.txt")).unwrap();
    let idle = |line: &str| line.starts_with("CPU") && line.contains(" of work, idle ");
    assert_eq!(said.lines().filter(|line| idle(line)).count(), 1, "{said}");
    let rows = place.results("out");
    assert!(
        rows.values()
            .all(|row| ["missing", "done"].contains(&row["status"].as_str()))
    );
}

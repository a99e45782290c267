//! What happens around a run: readers that go, disks that are full, signals, terminals.

use selectiv::train::checkpoint;
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Task 1 made tiny.
const TASK: &str = include_str!("../cases/small.toml");

/// A folder with the task in it.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("small.toml"), TASK).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn selectiv(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_selectiv"));
        command.current_dir(self.dir.path()).args(args);
        command
    }

    /// `selectiv train small.toml --model mamba2 --device cpu --out run ARGS`.
    fn train(&self, args: &[&str]) -> Command {
        let mut command = self.selectiv(&["train", "small.toml", "--model", "mamba2", "--device", "cpu"]);
        command.args(["--out", "run"]).args(args);
        command
    }

    fn result(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("run/result.json")).unwrap()).unwrap()
    }
}

/// A run of many small updates, each saved.
const LONG: [&str; 4] = ["--steps", "3000", "--set", "train.checkpoint_every=1"];

/// Runs a command whose reader of standard output (or error) has gone.
fn without_reader(mut command: Command, error: bool) -> ExitStatus {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    if error {
        command.stdout(Stdio::null()).stderr(writer);
    } else {
        command.stdout(writer).stderr(Stdio::null());
    }
    let mut child = command.spawn().unwrap();
    drop(command);
    child.wait().unwrap()
}

fn wait_for_checkpoint(folder: &Path, child: &mut Child) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        let names = fs::read_dir(folder).into_iter().flatten().flatten();
        let saved = |name: std::ffi::OsString| name.to_string_lossy().starts_with("checkpoint-");
        if names.map(|e| e.file_name()).any(saved) {
            return;
        }
        assert!(child.try_wait().unwrap().is_none(), "it ended early");
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("nothing happened in a minute");
}

fn send(child: &Child, signal: &str) {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn a_reader_that_has_gone_ends_the_printing_quietly() {
    let place = Place::new();
    let grammar = "grammar --vocab 9 --ambiguities 6 --depth 4 --seed 2 --sequences 900";
    for args in [
        "models",
        "models --json",
        "devices --device cpu",
        "--help",
        "train --help",
        "--version",
        "check --device cpu --fixtures-only",
        grammar,
    ] {
        let args: Vec<&str> = args.split(' ').collect();
        assert_eq!(
            without_reader(place.selectiv(&args), false).code(),
            Some(0),
            "{args:?}"
        );
    }
    let done = without_reader(place.train(&["--steps", "5"]), false);
    assert_eq!(done.code(), Some(0));
    assert!(place.result()["loss"].is_f64());
}

#[test]
fn training_goes_on_when_nobody_hears_it() {
    let place = Place::new();
    let args = ["--steps", "20", "-v"];
    assert_eq!(without_reader(place.train(&args), true).code(), Some(0));
    assert_eq!(place.result()["steps"], 20);
    // A bad task is still bad.
    let bad = without_reader(place.train(&["--lr", "fast"]), true);
    assert_eq!(bad.code(), Some(2));
}

#[test]
fn a_full_device_loses_messages_but_no_results() {
    let full = |write: bool| File::options().read(true).write(write).open("/dev/full");
    if full(true).is_err() {
        return;
    }
    let place = Place::new();
    let mut command = place.train(&["--steps", "20", "-v"]);
    let done = command.stdout(Stdio::null()).stderr(full(true).unwrap()).status();
    assert_eq!(done.unwrap().code(), Some(0));
    assert_eq!(place.result()["steps"], 20);
    for args in [
        "models",
        "models --json",
        "--help",
        "--version",
        "devices --device cpu",
    ] {
        let args: Vec<&str> = args.split(' ').collect();
        let mut command = place.selectiv(&args);
        let output = command
            .stdout(full(true).unwrap())
            .stderr(Stdio::piped())
            .output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(3), "{args:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with("error: write standard output: "), "{said}");
    }
}

#[test]
fn signals_that_were_ignored_stay_ignored() {
    let place = Place::new();
    let program = env!("CARGO_BIN_EXE_selectiv");
    for (ignored, signal) in [("HUP", "-HUP"), ("INT", "-INT"), ("TERM", "-TERM")] {
        let script = format!(
            "trap '' {ignored}; exec {program} train small.toml --model mamba2 --device cpu --out {ignored} --steps 400 \
             --set train.checkpoint_every=1"
        );
        let mut child = Command::new("sh")
            .current_dir(place.dir.path())
            .args(["-c", &script])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for_checkpoint(&place.path(ignored), &mut child);
        send(&child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(0), "{ignored}");
    }
}

#[test]
fn only_a_second_interrupt_stops_at_once() {
    let place = Place::new();
    let mut child = place
        .train(&LONG)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for_checkpoint(&place.path("run"), &mut child);
    for signal in ["-TERM", "-HUP", "-TERM", "-INT"] {
        send(&child, signal);
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut said = String::new();
    child.stderr.unwrap().read_to_string(&mut said).unwrap();
    // The error of a run that was saved: one that was stopped at once says nothing.
    assert!(said.contains("continue with --resume"), "{said}");
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_with_words() {
    let place = Place::new();
    let program = env!("CARGO_BIN_EXE_selectiv");
    let script = format!(
        "ulimit -f 16; exec {program} train small.toml --model mamba2 --device cpu --out run --steps 20"
    );
    let mut command = Command::new("sh");
    let output = command
        .current_dir(place.dir.path())
        .args(["-c", &script])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("checkpoint-"), "{said}");
}

/// Standard error of a command that must end with this code and print no result.
fn error(command: &mut Command, code: i32) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(output.stdout.is_empty(), "a refusal prints no result");
    said
}

/// Standard output and error of a command that must succeed.
fn spoken(command: &mut Command) -> (String, String) {
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    (String::from_utf8(output.stdout).unwrap(), said)
}

#[test]
fn a_test_that_is_not_a_number_names_the_tensor_and_leaves_no_result() {
    let place = Place::new();
    // Finite parameters so large that every forward pass overflows.
    let args = ["--steps", "1", "--warmup", "0", "--lr", "1e30"];
    for resume in [&[][..], &["--resume"][..]] {
        let said = error(place.train(&args).args(resume), 1);
        let line = said.lines().last().unwrap();
        assert!(
            line.starts_with("error: ") && line.contains(" is not finite"),
            "{said}"
        );
        assert!(line.contains('`'), "no tensor is named: {line}");
        assert!(!place.path("run/result.json").exists());
    }
}

#[test]
fn no_table_of_eval_has_numbers_that_are_none() {
    let place = Place::new();
    spoken(&mut place.train(&["--steps", "5"]));
    // Finite, and so large that every forward pass overflows.
    let mut saved = checkpoint::load(&place.path("run/checkpoint-00000005.safetensors")).unwrap();
    for (_, _, values) in &mut saved.params {
        values.fill(1e30);
    }
    checkpoint::save(&place.path("run"), &saved).unwrap();
    for flags in [
        &[][..],
        &["--gates"],
        &["--decode"],
        &["--by", "position"],
        &["--json", "--gates"],
    ] {
        let mut command = place.selectiv(&["eval", "run", "--device", "cpu"]);
        let said = error(command.args(flags), 1);
        let line = said.lines().last().unwrap();
        assert!(
            line.contains(" is not finite") && line.contains('`'),
            "{flags:?}: {said}"
        );
    }
}

#[test]
fn a_run_that_diverged_says_so_each_time() {
    let place = Place::new();
    let args = ["--steps", "40", "--warmup", "0", "--lr", "3"];
    for resume in [&[][..], &["--resume"][..]] {
        let output = place.train(&args).args(resume).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("error: diverged: the test loss is "), "{said}");
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(result, place.result());
        assert!(result["loss"].as_f64().unwrap() > -2.0 * result["chance"].as_f64().unwrap().ln());
    }
}

#[test]
fn what_was_altered_or_damaged_after_the_end_is_noticed() {
    let place = Place::new();
    let (first, _) = spoken(&mut place.train(&["--steps", "10", "--set", "train.checkpoint_every=5"]));
    let resume = || place.train(&["--steps", "10", "--set", "train.checkpoint_every=5", "--resume"]);
    let numbers = |text: &str| -> Vec<Value> {
        let result: Value = serde_json::from_str(text).unwrap();
        ["loss", "accuracy", "ceiling", "steps"]
            .map(|key| result[key].clone())
            .to_vec()
    };

    let file = place.path("run/result.json");
    fs::write(&file, first.replace("\"accuracy\":0.", "\"accuracy\":0.9")).unwrap();
    let (again, said) = spoken(&mut resume());
    assert!(said.contains("was altered"), "{said}");
    assert_eq!(numbers(&again), numbers(&first));

    for name in [
        "checkpoint-00000010.safetensors",
        "checkpoint-00000005.safetensors",
    ] {
        fs::write(place.path("run").join(name), "damaged").unwrap();
    }
    assert_eq!(
        spoken(&mut resume()).0,
        again,
        "a whole result needs no checkpoint"
    );
    fs::remove_file(&file).unwrap();
    assert!(error(&mut resume(), 2).contains("every checkpoint is damaged"));
}

#[test]
fn a_newest_checkpoint_that_cannot_be_read_gives_way_to_the_one_before() {
    let place = Place::new();
    let args = ["--steps", "10", "--set", "train.checkpoint_every=5"];
    let (first, _) = spoken(&mut place.train(&args));
    let newest = place.path("run/checkpoint-00000010.safetensors");
    fs::remove_file(&newest).unwrap();
    fs::create_dir(&newest).unwrap();
    fs::remove_file(place.path("run/result.json")).unwrap();
    let (eval, said) = spoken(&mut place.selectiv(&["eval", "run", "--device", "cpu", "--json"]));
    assert!(said.contains("checkpoint-00000010.safetensors"), "{said}");
    assert_eq!(serde_json::from_str::<Value>(&eval).unwrap()[0]["step"], 5);
    let (again, _) = spoken(place.train(&args).arg("--resume"));
    assert!(place.path("run/checkpoint-00000010.safetensors.damaged").is_dir());
    let loss = |text: &str| serde_json::from_str::<Value>(text).unwrap()["loss"].clone();
    assert_eq!(loss(&again), loss(&first));
}

#[test]
fn a_configuration_that_was_removed_meanwhile_comes_back() {
    let place = Place::new();
    let mut child = place
        .train(&["--steps", "400", "--set", "train.checkpoint_every=1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for_checkpoint(&place.path("run"), &mut child);
    let config = fs::read(place.path("run/config.toml")).unwrap();
    fs::remove_file(place.path("run/config.toml")).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(fs::read(place.path("run/config.toml")).unwrap(), config);
}

#[test]
fn a_test_that_cannot_be_built_is_refused_before_the_first_update() {
    let place = Place::new();
    let long = TASK
        .replace("length = 16", "length = 10000")
        .replace("gap = 0.1", "gap = 0.1\ntest_gap = 100");
    fs::write(place.path("small.toml"), long).unwrap();
    for args in [&["--dry-run"][..], &[]] {
        error(&mut place.train(args), 2);
        assert!(!place.path("run").exists());
    }
}

/// Links stay links, pipes stay pipes, and no run loses a file to a picture.
#[test]
fn what_a_user_names_is_written_into() {
    use std::os::unix::fs::{FileTypeExt, symlink};
    let place = Place::new();
    assert!(place.train(&["--steps", "2"]).status().unwrap().success());
    let fifo = place.path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let commands: [&[&str]; 4] = [
        &["weights", "export", "run"],
        &["report", "run", "--out"],
        &["data", "export", "small.toml", "--out"],
        &["data", "show", "small.toml", "--idx", "0", "--svg"],
    ];
    for (i, command) in commands.into_iter().enumerate() {
        let (link, new) = (format!("link{i}"), format!("new{i}"));
        symlink(&new, place.path(&link)).unwrap();
        let to = |path: &str| place.selectiv(&[command, &[path]].concat()).output().unwrap();
        let written = to(&link);
        assert!(written.status.success(), "{command:?}: {written:?}");
        assert!(
            place.path(&link).symlink_metadata().unwrap().is_symlink(),
            "{command:?}"
        );
        let bytes = fs::read(place.path(&new)).unwrap();

        let piped = place.path("piped");
        let mut reader = Command::new("cat")
            .arg(&fifo)
            .stdout(File::create(&piped).unwrap())
            .spawn()
            .unwrap();
        assert!(to("fifo").status.success(), "{command:?}");
        assert!(reader.wait().unwrap().success());
        assert!(
            fifo.symlink_metadata().unwrap().file_type().is_fifo(),
            "{command:?}"
        );
        // The page says its own command.
        let same = fs::read(&piped).unwrap() == bytes;
        assert!(same || command[0] == "report", "{command:?}");

        for own in ["run/config.toml", "run"] {
            let before = fs::read(place.path("run/config.toml")).unwrap();
            assert_eq!(to(own).status.code(), Some(2), "{command:?} {own}");
            assert_eq!(fs::read(place.path("run/config.toml")).unwrap(), before);
        }
    }
}

#[test]
fn an_import_that_failed_leaves_no_run_and_can_be_repeated() {
    let place = Place::new();
    spoken(&mut place.train(&["--steps", "5"]));
    spoken(&mut place.selectiv(&["weights", "export", "run", "w.safetensors"]));
    let import = "weights import w.safetensors --model mamba2 --task small.toml --out again";
    let program = env!("CARGO_BIN_EXE_selectiv");
    // Room for less than the checkpoint.
    let script = format!("ulimit -f 16; exec {program} {import}");
    let mut limited = Command::new("sh");
    error(limited.current_dir(place.dir.path()).args(["-c", &script]), 3);
    assert!(!place.path("again").exists());
    // A kill between the two files leaves the weights alone.
    fs::create_dir(place.path("again")).unwrap();
    fs::write(place.path("again/checkpoint-00000000.safetensors"), "half").unwrap();
    let mut resume = place.selectiv(&[
        "train",
        "small.toml",
        "--model",
        "mamba2",
        "--out",
        "again",
        "--resume",
    ]);
    assert!(error(&mut resume, 2).contains("holds other files"));
    let import: Vec<&str> = import.split(' ').collect();
    spoken(&mut place.selectiv(&import));
    let loss = |run: &str| {
        let (text, _) = spoken(&mut place.selectiv(&["eval", run, "--device", "cpu", "--json"]));
        serde_json::from_str::<Value>(&text).unwrap()[0]["loss"].clone()
    };
    assert_eq!(loss("again"), loss("run"));
}

/// The command with an interrupt that is heard: background jobs of a shell are started with one that is ignored.
fn hearing(command: &Command) -> Command {
    let mut heard = Command::new("env");
    if cfg!(target_os = "linux") {
        heard.arg("--default-signal=INT");
    }
    heard.arg(command.get_program()).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        heard.current_dir(folder);
    }
    heard.envs(
        command
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    heard
}

/// Sends a signal once the program has said something, and returns its exit code and what it has said.
fn stopped_after(command: Command, word: &str, signal: &str) -> (Option<i32>, String, String) {
    let mut child = hearing(&command)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    while !said.contains(word) {
        assert!(lines.read_line(&mut said).unwrap() > 0, "it ended early: {said}");
    }
    send(&child, signal);
    lines.read_to_string(&mut said).unwrap();
    let output = child.wait_with_output().unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        said,
    )
}

#[test]
fn checks_and_benches_that_are_stopped_print_what_they_have() {
    let place = Place::new();
    for (args, word, printed) in [
        ("check --device cpu", "passed ", "golden files"),
        ("check --device cpu --json", "passed ", "\"passed\""),
        ("bench --device cpu --quick", "forward", "copy"),
        ("bench --device cpu --quick", "measuring", "copy"),
        ("bench --device cpu --json", "measuring", "\"copy_gb_s\""),
        (
            "bench --device cpu --model gla --d-model 256 --layers 4",
            "training step of",
            "copy",
        ),
    ] {
        let args: Vec<&str> = args.split(' ').collect();
        let (code, out, said) = stopped_after(place.selectiv(&args), word, "-INT");
        assert_eq!(code, Some(130), "{args:?}: {said}");
        assert!(out.contains(printed), "{args:?}: {out}");
        assert!(
            said.trim_end()
                .ends_with("what was done until then is all there is"),
            "{said}"
        );
    }
}

#[test]
fn dry_runs_and_sweeps_that_are_stopped_say_what_they_know() {
    let place = Place::new();
    let command = place.train(&["--dry-run", "--d-model", "128", "--layers", "4", "--batch", "64"]);
    let (code, out, said) = stopped_after(command, "parameters;", "-INT");
    assert_eq!(code, Some(130), "{said}");
    assert!(out.contains("parameters"), "{out}");
    assert!(!place.path("run").exists());
    let sweep = "tasks = [\"small.toml\"]\nmodels = [\"mamba2\", \"gla\"]\n[grid]\nseed = [1]\n[set]\n\"model.d_model\" = 128\n\"model.layers\" = 4\n\
                 \"train.batch\" = 64\n";
    fs::write(place.path("sweep.toml"), sweep).unwrap();
    let line = [
        "sweep",
        "sweep.toml",
        "--dry-run",
        "--out",
        "swept",
        "--device",
        "cpu",
    ];
    for (word, time) in [("device:", "nothing was timed"), ("(2 of 2 shapes)", "hours")] {
        let (code, out, said) = stopped_after(place.selectiv(&line), word, "-INT");
        assert_eq!(code, Some(130), "{said}");
        assert!(said.contains("the dry run was stopped by a signal"), "{said}");
        assert!(out.contains("missing") && out.contains(time), "{out}");
        assert!(!place.path("swept").exists());
    }
    let sweep = ["sweep", "sweep.toml", "--out", "swept", "--device", "cpu"];
    let (code, _, said) = stopped_after(place.selectiv(&sweep), "0 of 2 runs done", "-INT");
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("continue with `selectiv sweep swept`"), "{said}");
}

#[test]
fn a_run_of_hours_on_the_cpu_is_told_so_before_it_begins() {
    let place = Place::new();
    let mut command = place.train(&["--steps", "1000000", "--d-model", "128", "--layers", "4"]);
    command.args(["--set", "data.train=8000000"]);
    let (code, _, said) = stopped_after(command, "warning: this takes about ", "-INT");
    assert_eq!(code, Some(130), "{said}");
    let short = place
        .train(&["--steps", "5", "--set", "train.eval_every=1000"])
        .arg("--out")
        .arg("short")
        .output();
    assert!(
        !String::from_utf8(short.unwrap().stderr)
            .unwrap()
            .contains("warning: this takes")
    );
}

//! Runs that were stopped, killed or damaged, and go on.

use super::{
    Place, assert_same_checkpoint, assert_same_numbers, assert_same_run, end, error, result, wait_for,
};
use selectiv::train::checkpoint;
use serde_json::Value;
use std::fs;
use std::time::Duration;

#[cfg(unix)]
#[test]
fn stopped_by_a_signal_and_resumed_is_bit_for_bit_the_same() {
    let place = Place::new();
    let steps = ["--steps", "400", "--set", "train.eval_every=37"];
    let whole = result(&mut place.train("whole", &steps));
    let mut child = place.start("parts", &steps);
    wait_for(
        &place.path("parts"),
        |name| name.starts_with("checkpoint-"),
        &mut child,
    );
    assert_eq!(end(&mut child, "-TERM"), Some(130));
    assert!(!place.path("parts/result.json").exists());
    let resumed = [&steps[..], &["--resume"]].concat();
    let parts = result(&mut place.train("parts", &resumed));
    assert_same_run(&place, ["whole", "parts"], [&whole, &parts]);
}

#[cfg(unix)]
#[test]
fn killed_at_any_time_and_resumed_is_bit_for_bit_the_same() {
    let place = Place::new();
    // A checkpoint after every update, so that most kills come while one is written.
    let steps = ["--steps", "120", "--set", "train.checkpoint_every=1"];
    let whole = result(&mut place.train("whole", &steps));
    let resumed = [&steps[..], &["--resume"]].concat();
    let mut kills = 0;
    for round in 0..12 {
        let mut child = place.start("parts", &resumed);
        // At least one more checkpoint each time, so that the run gets on.
        let before = if place.path("parts").exists() {
            place.names("parts")
        } else {
            Vec::new()
        };
        let new = |name: &str| name.starts_with("checkpoint-") && !before.contains(&name.to_owned());
        wait_for(&place.path("parts"), new, &mut child);
        std::thread::sleep(Duration::from_micros(700 * round));
        if child.try_wait().unwrap().is_some() {
            break;
        }
        end(&mut child, "-KILL");
        kills += 1;
    }
    assert!(kills > 0, "the run ended before it could be killed");
    let parts = result(&mut place.train("parts", &resumed));
    assert_same_run(&place, ["whole", "parts"], [&whole, &parts]);
    assert!(
        !place.names("parts").iter().any(|name| name.ends_with(".tmp")),
        "litter is removed"
    );
}

#[cfg(unix)]
#[test]
fn a_damaged_checkpoint_is_passed_over_and_named() {
    let place = Place::new();
    let steps = ["--steps", "400", "--set", "train.eval_every=10"];
    let whole = result(&mut place.train("whole", &steps));
    let mut child = place.start("parts", &steps);
    wait_for(
        &place.path("parts"),
        |name| name.starts_with("checkpoint-0000002"),
        &mut child,
    );
    end(&mut child, "-KILL");
    let names = place.names("parts");
    let last = names.iter().rfind(|n| n.starts_with("checkpoint-")).unwrap();
    let path = place.path("parts").join(last);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let mut command = place.train("parts", &[&steps[..], &["--resume"]].concat());
    let output = command.assert().success().get_output().clone();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("checksum"), "{stderr}");
    assert_same_checkpoint(&place.last_checkpoint("whole"), &place.last_checkpoint("parts"));
    assert_eq!(
        whole["loss"],
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["loss"]
    );
}

#[test]
fn a_folder_of_an_earlier_version_goes_on_unless_its_task_was_edited() {
    let place = Place::new();
    let steps = ["--steps", "10", "--set", "train.checkpoint_every=5"];
    let whole = result(&mut place.train("whole", &steps));
    result(&mut place.train("run", &steps));

    // As the first version left it after five updates, with the fields that it had.
    let config = place.path("run/config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let newer = ["householder", "expand", "conv"].map(|field| format!("{field} = "));
    let text = &text[text.find("[grammar]").unwrap()..];
    let lines = text
        .split_inclusive('\n')
        .filter(|line| !newer.iter().any(|field| line.starts_with(field)));
    let first: String = lines.collect();
    assert!(first.lines().count() == text.lines().count() - newer.len());
    fs::write(&config, &first).unwrap();
    fs::remove_file(place.path("run/result.json")).unwrap();
    fs::remove_file(place.path("run/checkpoint-00000010.safetensors")).unwrap();
    let mut saved = checkpoint::load(&place.path("run/checkpoint-00000005.safetensors")).unwrap();
    let fields = &first[first.find("[grammar]").unwrap()..];
    saved.config_hash = blake3::hash(fields.as_bytes()).to_hex().to_string();
    saved.state.as_object_mut().unwrap().remove("config");
    checkpoint::save(&place.path("run"), &saved).unwrap();

    let eval = || {
        let mut command = place.selectiv();
        command.args(["eval", "run", "--device", "cpu", "--json"]);
        command
    };
    eval().assert().success();
    for (from, to) in [
        ("lr = 0.01", "lr = 0.02"),
        ("chunk = 16", "chunk = 16\nd_state = 64"),
    ] {
        fs::write(&config, first.replace(from, to)).unwrap();
        let stderr = error(&mut eval(), 2);
        assert!(stderr.contains("made with another config.toml"), "{to}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{to}: {stderr}");
    }
    fs::write(&config, &first).unwrap();
    let resumed = result(&mut place.train("run", &[&steps[..], &["--resume"]].concat()));
    assert_same_numbers(&whole, &resumed);
    assert_same_checkpoint(&place.last_checkpoint("whole"), &place.last_checkpoint("run"));
}

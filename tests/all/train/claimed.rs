//! One process a folder.

use super::{Place, error, result};
use serde_json::Value;
use std::fs;
use std::time::{Duration, Instant};

/// Owner of the claim on a run, once there is one.
fn claimed(place: &Place, out: &str) -> Value {
    let path = place.path(out).join("claim/owner.json");
    let start = Instant::now();
    loop {
        if let Ok(text) = fs::read(&path) {
            return serde_json::from_slice(&text).unwrap();
        }
        assert!(start.elapsed() < Duration::from_secs(60), "no claim");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn one_process_works_in_a_folder() {
    let place = Place::new();
    let mut first = place.start("run", &["--steps", "100000"]);
    let owner = claimed(&place, "run");
    assert_eq!(owner["process"], first.id());
    let expected = format!("in use by process {}", first.id());
    for args in [&["--lr", "0.02"][..], &["--resume", "--steps", "100000"]] {
        let message = error(&mut place.train("run", args), 2);
        assert!(message.contains(&expected), "{message}");
    }
    // A dead process holds nothing.
    first.kill().unwrap();
    first.wait().unwrap();
    let config = fs::read_to_string(place.path("run/config.toml"));
    if config.is_ok() {
        let message = error(&mut place.train("run", &[]), 2);
        assert!(message.contains("--resume"), "{message}");
    }
    result(&mut place.train("other", &["--steps", "4"]));
    assert!(!place.names("other").contains(&"claim".to_owned()));
}

#[test]
fn who_loses_the_claim_stops_and_writes_nothing_more() {
    let place = Place::new();
    let mut run = place.start("run", &["--steps", "100000", "--set", "train.checkpoint_every=5"]);
    let mut owner = claimed(&place, "run");
    let metrics = place.path("run/metrics.jsonl");
    while !fs::metadata(&metrics).is_ok_and(|m| m.len() > 0) {
        std::thread::sleep(Duration::from_millis(5));
    }
    owner["token"] = "another process".into();
    fs::write(place.path("run/claim/owner.json"), owner.to_string()).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(3));
    assert!(
        place.names("run").contains(&"claim".to_owned()),
        "it is the other's"
    );
}

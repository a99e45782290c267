//! Damaged input of every format that is read: whatever stands in a file, reading it ends with a value or an error.
//!
//! Each format is tried for ten seconds, or as long as `SELECTIV_FUZZ_SECONDS` says, from a seed of the day that a failure
//! prints; `SELECTIV_FUZZ_SEED` repeats it.

#![allow(clippy::disallowed_macros, reason = "a test says how often it tried")]

use selectiv::check::{Precision, Source, golden, grammars};
use selectiv::config::Config;
use selectiv::cpu::CpuRuntime;
use selectiv::tasks::Grammar;
use selectiv::train::checkpoint::{self, Checkpoint};
use selectiv::train::records::{METRICS_FILE, MetricsLog, RESULT_FILE, RunResult, metrics};
use selectiv::train::weights::WeightsFile;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What formats choke on.
const TOKENS: [&[u8]; 16] = [
    b"-1",
    b"1e999",
    b"18446744073709551615",
    b"9999999999999999999999",
    b"null",
    b"nan",
    b"[[[[[[[[[[[[[[[[",
    b"{\"a\":{\"a\":{\"a\":",
    b"\"\"",
    b"\0",
    b"\xff\xfe",
    "\u{feff}".as_bytes(),
    b"../../",
    b"\n",
    b"0",
    b"\"\\ud800\"",
];

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// A file with one to four things wrong.
fn damaged(whole: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        let end = (at + 1 + random.below(40)).min(bytes.len());
        match random.below(6) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[at] = random.next() as u8,
            2 => drop(bytes.drain(at..end)),
            3 => {
                let part = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                drop(bytes.splice(to..to, part));
            }
            4 => bytes.truncate(at),
            _ => {
                let token = TOKENS[random.below(TOKENS.len())];
                let end = if random.below(2) == 0 { at } else { end };
                drop(bytes.splice(at..end, token.iter().copied()));
            }
        }
    }
    bytes
}

/// Damages a file again and again, and reads it.
fn fuzz(format: &str, whole: &[u8], mut read: impl FnMut(&[u8])) {
    read(whole);
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = number("SELECTIV_FUZZ_SEED").unwrap_or(now.as_secs() / 86_400);
    let time = Duration::from_secs(number("SELECTIV_FUZZ_SECONDS").unwrap_or(10));
    let mut random = Random(seed);
    let start = Instant::now();
    let mut tries = 0_u64;
    while start.elapsed() < time {
        let bytes = damaged(whole, &mut random);
        tries += 1;
        let done = catch_unwind(AssertUnwindSafe(|| read(&bytes)));
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(2000)]).into_owned();
        assert!(done.is_ok(), "{format}, seed {seed}, try {tries}: {text}");
    }
    println!("{format}: {tries} tries, 0 failures");
}

/// The same with a file of this name in a folder of its own.
fn fuzz_file(format: &str, name: &str, whole: &[u8], mut read: impl FnMut(&Path)) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fuzz(format, whole, |bytes| {
        fs::write(&path, bytes).unwrap();
        read(&path);
    });
}

#[test]
fn task_files() {
    let text = include_bytes!("../cases/small.toml");
    fuzz_file("task files", "t.toml", text, |path| drop(Config::load(path, &[])));
}

#[test]
fn grammars_as_json() {
    fuzz("grammars", include_bytes!("../cases/grammar.json"), |bytes| {
        drop(Grammar::from_json(&String::from_utf8_lossy(bytes), "g.json"));
    });
}

#[test]
fn weights() {
    let whole = include_bytes!("../cases/plain.safetensors");
    fuzz_file("weights", "w.safetensors", whole, |path| {
        drop(WeightsFile::read(path));
    });
}

#[test]
fn checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let saved = Checkpoint {
        step: 7,
        params: vec![
            ("encoder.weight".to_owned(), vec![2, 3], vec![0.5; 6]),
            ("encoder.bias".to_owned(), vec![2], vec![0.25; 2]),
        ],
        moment1: vec![vec![0.0; 6], vec![0.0; 2]],
        moment2: vec![vec![1.0; 6], vec![1.0; 2]],
        config_hash: "0123".to_owned(),
        state: serde_json::json!({ "task": "t", "model": "gla" }),
    };
    let whole = fs::read(checkpoint::save(dir.path(), &saved).unwrap()).unwrap();
    fuzz_file("checkpoints", "c.safetensors", &whole, |path| {
        if let Ok(found) = checkpoint::load(path) {
            assert_eq!(found, saved, "damage was not seen");
        }
    });
}

#[test]
fn metrics_lines() {
    let line = |step| {
        format!(
            "{{\"step\":{step},\"loss\":1.5,\"accuracy\":0.25,\"lr\":0.001,\"grad_norm\":0.75,\"tokens_per_s\":1e5}}\n"
        )
    };
    let whole: String = (1..=8).map(line).collect();
    let dir = tempfile::tempdir().unwrap();
    fuzz("metrics", whole.as_bytes(), |bytes| {
        fs::write(dir.path().join(METRICS_FILE), bytes).unwrap();
        MetricsLog::resume(dir.path(), 6, &mut |_| {}).unwrap();
        let left = metrics::read(dir.path()).unwrap();
        assert!(left.iter().all(|line| line.step <= 6));
        for entry in fs::read_dir(dir.path()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    });
}

#[test]
fn results() {
    let whole = include_bytes!("../cases/result.json");
    fuzz_file("results", RESULT_FILE, whole, |path| {
        let folder = path.parent().unwrap();
        drop(RunResult::read(folder));
    });
}

#[test]
fn indices_of_golden_files() {
    let mut runtime = CpuRuntime::<f64>::new();
    let index = include_bytes!("../cases/index.json");
    fuzz_file("index.json of ops", "ops/index.json", index, |path| {
        let source = Source::Folder(path.ancestors().nth(2).unwrap().to_owned());
        drop(golden::ops(
            &source,
            &mut runtime,
            Precision::F64,
            &mut |_| Ok(()),
        ));
    });
    let index = b"{\"entries\":[{\"file\":\"a.json\",\"kind\":\"grammar\",\"vocab\":9}]}";
    fuzz_file("index.json of grammars", "grammars/index.json", index, |path| {
        let source = Source::Folder(path.ancestors().nth(2).unwrap().to_owned());
        drop(grammars(&source, &mut |_| Ok(())));
    });
}

//! What tests of the program share.

pub(crate) mod browser;
pub(crate) mod skipped;

use assert_cmd::Command;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

/// Task 1 made tiny: a run takes about a second.
pub(crate) const TASK: &str = r#"
[grammar]
vocab = 9
ambiguities = 6
depth = 4
seed = 1

[data]
length = 16
train = 960
validation = 60
test = 70
gap = 0.1

[model]
d_model = 16
layers = 1
heads = 2
chunk = 16

[train]
batch = 12
lr = 0.01
warmup = 5
eval_every = 20
"#;

/// A folder of its own, in which the program runs.
pub(crate) struct Folder {
    dir: TempDir,
}

impl Folder {
    /// With these files in it.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        Self { dir }
    }

    /// Where something in it lies.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The program, about to run there.
    pub(crate) fn selectiv(&self) -> Command {
        let mut command = Command::cargo_bin("selectiv").unwrap();
        // Without this some GPU drivers print an error line of their own.
        command
            .current_dir(self.dir.path())
            .env("XDG_RUNTIME_DIR", self.dir.path());
        command
    }
}

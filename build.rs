//! Builds the table of shader sources and finds out commit and versions, so that the binary needs no other file.

#![allow(
    clippy::disallowed_macros,
    reason = "a build script speaks to cargo by printing"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, process};

fn main() {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    let shaders = root.join("shaders");
    println!("cargo::rerun-if-changed=shaders");

    let mut files = Vec::new();
    collect(&shaders, &["wgsl"], &mut files);
    files.sort();
    let mut table = String::from(
        "/// Name (path without `.wgsl`) and text of every shader.\npub(super) const SOURCES: &[(&str, &str)] = &[\n",
    );
    for file in files {
        let name = file
            .strip_prefix(&shaders)
            .expect("it was found there")
            .with_extension("");
        let name = name.to_string_lossy().replace('\\', "/");
        writeln!(
            table,
            "    ({name:?}, include_str!({:?})),",
            file.display().to_string()
        )
        .expect("writing to a string");
    }
    table.push_str("];\n");
    fs::write(out.join("shaders.rs"), table).expect("cargo's OUT_DIR is writable");

    let fixtures = root.join("tests/fixtures");
    println!("cargo::rerun-if-changed=tests/fixtures");
    let mut files = Vec::new();
    collect(&fixtures, &["json", "safetensors"], &mut files);
    files.sort();
    let mut table = String::from(
        "/// Path and content of every golden file.\npub(super) const FIXTURES: &[(&str, &[u8])] = &[\n",
    );
    for file in files {
        let name = file
            .strip_prefix(&fixtures)
            .expect("it was found there")
            .to_string_lossy()
            .replace('\\', "/");
        writeln!(
            table,
            "    ({name:?}, include_bytes!({:?})),",
            file.display().to_string()
        )
        .expect("writing to a string");
    }
    table.push_str("];\n");
    fs::write(out.join("fixtures.rs"), table).expect("cargo's OUT_DIR is writable");

    // The log of HEAD changes with every commit and checkout, wherever git keeps it. A path that does not exist would
    // rebuild the crate every time.
    if let Some(log) = git(&root, &["rev-parse", "--git-path", "logs/HEAD"]) {
        let log = root.join(log);
        if log.exists() {
            println!("cargo::rerun-if-changed={}", log.display());
        }
    }
    let commit = git(&root, &["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=SELECTIV_COMMIT={commit}");

    println!("cargo::rerun-if-changed=Cargo.lock");
    let lock = fs::read_to_string(root.join("Cargo.lock")).unwrap_or_default();
    for package in ["wgpu", "naga"] {
        let version = locked_version(&lock, package).unwrap_or("unknown");
        println!("cargo::rustc-env=SELECTIV_{}={version}", package.to_uppercase());
    }
}

fn git(root: &Path, args: &[&str]) -> Option<String> {
    let output = process::Command::new("git")
        .args(args)
        .current_dir(root)
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(text)
}

/// The version of a package in the text of a `Cargo.lock`.
fn locked_version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let name = format!("name = \"{package}\"\nversion = \"");
    let start = lock.find(&name)? + name.len();
    lock[start..].split('"').next()
}

fn collect(folder: &Path, extensions: &[&str], files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder is part of the crate") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            collect(&path, extensions, files);
        } else if path
            .extension()
            .is_some_and(|e| extensions.iter().any(|x| e == *x))
        {
            files.push(path);
        }
    }
}

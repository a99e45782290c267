//! `selectiv report`: one page of runs, sweeps, benches and checks, and its figures as files.

use super::common::Common;
use super::inspect::counted;
use super::print;
use crate::error::{Result, UserError};
use crate::report::{Material, page, plots};
use crate::train::{Existing, Target};
use clap::Args;
use std::path::{Path, PathBuf};

/// Arguments of `selectiv report`.
#[derive(Debug, Clone, Args)]
pub struct ReportArgs {
    /// Folders of runs and sweeps, folders that hold such, and outputs of `bench --json` and `check --json`
    #[arg(value_name = "DIR|BENCH.json|CHECK.json", required = true)]
    pub paths: Vec<PathBuf>,
    /// The page: one file that needs no other
    #[arg(long, value_name = "FILE.html", required_unless_present = "plots")]
    pub out: Option<PathBuf>,
    /// Write every figure as SVG and PNG into this folder
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,
}

/// Gathers and writes. Prints the paths of what was written.
///
/// # Errors
/// Those of [`Material::gather`] and [`plots`]; [`crate::error::Error::Io`].
pub fn run(args: &ReportArgs, common: &Common) -> Result<()> {
    let verbosity = common.verbosity();
    let material = Material::gather(&args.paths)?;
    if let Some(out) = &args.out {
        refuse_an_input(out, &material)?;
    }
    let runs = || material.runs.iter().map(|run| &*run.folder);
    let page_of = |out: &Path| Target::new(out, Existing::Replaced, runs());
    let target = args.out.as_deref().map(page_of).transpose()?;
    verbosity.say(&format!(
        "{}, {} of bench, {} of check",
        counted(material.runs.len(), "run"),
        counted(material.benches.len(), "output"),
        material.checks.len()
    ));
    if let (Some(out), Some(target)) = (&args.out, &target) {
        let html = page(&material, &command(args));
        target.write(html.as_bytes())?;
        verbosity.written(target, &out.display().to_string())?;
    }
    if let Some(folder) = &args.plots {
        let written = plots(&material, folder, &mut |name| verbosity.say(name))?;
        print::result(&format!(
            "{}: {}",
            folder.display(),
            counted(written.len(), "file")
        ))?;
    }
    Ok(())
}

/// Refuses a page in the place of a file that was read.
fn refuse_an_input(out: &Path, material: &Material) -> Result<()> {
    let same = |path: &Path| match (std::fs::canonicalize(path), std::fs::canonicalize(out)) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    };
    let files = material.benches.iter().map(|file| file.path.as_path());
    let mut files = files.chain(material.checks.iter().map(|file| file.path.as_path()));
    if files.any(same) {
        return Err(UserError::Value {
            place: "command line".to_owned(),
            field: "--out".to_owned(),
            found: out.display().to_string(),
            allowed: "a file that is no input".to_owned(),
        }
        .into());
    }
    Ok(())
}

/// The command as it would be typed.
fn command(args: &ReportArgs) -> String {
    let mut words: Vec<String> = vec!["selectiv".to_owned(), "report".to_owned()];
    words.extend(args.paths.iter().map(|path| path.display().to_string()));
    let options = [("--out", &args.out), ("--plots", &args.plots)];
    for (flag, path) in options {
        if let Some(path) = path {
            words.extend([flag.to_owned(), path.display().to_string()]);
        }
    }
    let plain = |c: char| c.is_alphanumeric() || "-_./=+:,".contains(c);
    let quoted = |word: &String| match word.chars().all(plain) {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

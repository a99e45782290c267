//! A sweep as job arrays of SLURM: an element a group of runs that train once.
//!
//! The sweep's folder gets all that a node needs (`slurm/`): a copy of the program, the scripts, the lists of runs. Two
//! minutes before its time is up an element is told so, writes a checkpoint, leaves with exit code 75 and is queued again,
//! at most three times.

use super::plan::{self, Plan};
use crate::error::{Error, Result, UserError};
use crate::train::{claim, records::atomic};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folder of scripts, lists, logs and the program, in the sweep's folder.
pub const SLURM_FOLDER: &str = "slurm";
/// Elements of one array: SLURM takes 1001 unless told otherwise.
const ELEMENTS: usize = 1000;
/// Seconds before the end of its time at which an element is told.
const WARNED_S: u32 = 120;
/// How often an element is queued again.
const REQUEUED: u32 = 3;

/// How the arrays are made.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Elements that run at a time.
    pub at_once: usize,
    /// Time limit of an element, as SLURM takes it.
    pub time: String,
    /// Further options of `sbatch`, such as `--partition=gpu`.
    pub options: Vec<String>,
    /// Flags of the program in an element, such as `--device`.
    pub flags: Vec<String>,
}

/// Writes the scripts of what is missing, and a copy of this program; returns the scripts. Runs that a living process has
/// are left out.
///
/// # Errors
/// [`Error::Io`]; [`UserError::Value`] for a value with a line end or a quote.
pub fn write(plan: &Plan, folder: &Path, settings: &Settings) -> Result<Vec<PathBuf>> {
    let texts = settings
        .options
        .iter()
        .chain(&settings.flags)
        .chain([&settings.time]);
    if let Some(text) = texts
        .into_iter()
        .find(|text| text.contains(['\n', '\r', '\'', '\0']))
    {
        return Err(UserError::Value {
            place: "command line".to_owned(),
            field: "--slurm-option".to_owned(),
            found: format!("{text:?}"),
            allowed: "text without line ends and single quotes".to_owned(),
        }
        .into());
    }
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { action, path, source }
    };
    let folder = std::path::absolute(folder).map_err(failed("find", folder))?;
    if folder.to_string_lossy().contains(['\'', '\n']) {
        let reason = "SLURM scripts need a path without quotes and line ends".to_owned();
        return Err(UserError::Folder { path: folder, reason }.into());
    }
    let missing = missing(plan, &folder);
    let place = folder.join(SLURM_FOLDER);
    let logs = place.join("logs");
    std::fs::create_dir_all(&logs).map_err(failed("create", &logs))?;
    let program = std::env::current_exe().map_err(failed("find", Path::new("this program")))?;
    install(&program, &place.join("selectiv")).map_err(failed("copy", &program))?;
    let mut scripts = Vec::new();
    for runs in missing.chunks(ELEMENTS) {
        let number = (1..)
            .find(|n| !place.join(format!("array-{n}.sh")).exists())
            .unwrap_or(0);
        let list = place.join(format!("runs-{number}.txt"));
        let text: String = runs.iter().map(|run| format!("{run}\n")).collect();
        atomic::replace(&list, |out| out.write_all(text.as_bytes()))?;
        let path = place.join(format!("array-{number}.sh"));
        let text = script(&folder, &list, runs.len(), settings);
        atomic::replace(&path, |out| out.write_all(text.as_bytes()))?;
        scripts.push(path);
    }
    Ok(scripts)
}

/// The first run of each group that is missing and that nobody has.
fn missing(plan: &Plan, folder: &Path) -> Vec<String> {
    let open = |group: &&Vec<usize>| {
        group
            .iter()
            .any(|&i| plan::status(folder, &plan.runs[i]).is_open())
    };
    let held = |group: &&Vec<usize>| {
        group.iter().any(|&i| {
            let own = plan::run_folder(folder, &plan.runs[i]);
            own.is_dir() && claim::holder(&own).is_ok_and(|owner| owner.is_some())
        })
    };
    let groups = plan.groups();
    let free = groups.iter().filter(open).filter(|group| !held(group));
    free.map(|group| plan.runs[group[0]].id.clone()).collect()
}

/// Copies a program beside and renames it, so that one that runs is not written to.
fn install(program: &Path, to: &Path) -> std::io::Result<()> {
    let beside = to.with_extension("new");
    std::fs::copy(program, &beside)?;
    std::fs::rename(beside, to)
}

fn script(folder: &Path, list: &Path, elements: usize, settings: &Settings) -> String {
    let place = folder.join(SLURM_FOLDER);
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let name: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    let mut text = format!(
        "#!/usr/bin/env bash\n\
         #SBATCH --job-name=selectiv-{name}\n\
         #SBATCH --array=0-{}%{}\n\
         #SBATCH --output='{}'\n\
         #SBATCH --open-mode=append\n\
         #SBATCH --signal=B:USR1@{WARNED_S}\n\
         #SBATCH --time={}\n\
         #SBATCH --requeue\n",
        elements - 1,
        settings.at_once,
        place.join("logs/%A_%a").display(),
        settings.time,
    );
    for option in &settings.options {
        writeln!(text, "#SBATCH {option}").expect("writing to a string");
    }
    let flags: String = settings.flags.iter().map(|flag| format!(" '{flag}'")).collect();
    write!(
        text,
        "\nrun=$(sed -n \"$((SLURM_ARRAY_TASK_ID + 1))p\" '{list}')\n\
         '{program}' sweep '{folder}' --only \"$run\"{flags} &\n\
         child=$!\n\
         # USR1: the time is nearly up. The program writes a checkpoint and leaves with 75.\n\
         trap 'kill -USR1 \"$child\" 2>/dev/null' USR1\n\
         trap 'kill -TERM \"$child\" 2>/dev/null' TERM INT\n\
         while kill -0 \"$child\" 2>/dev/null; do wait \"$child\"; done\n\
         wait \"$child\"\n\
         code=$?\n\
         if [ \"$code\" = 75 ] && [ \"${{SLURM_RESTART_COUNT:-0}}\" -lt {REQUEUED} ]; then\n  \
           scontrol requeue \"${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}\"\n\
         fi\n\
         exit \"$code\"\n",
        list = list.display(),
        program = place.join("selectiv").display(),
        folder = folder.display(),
    )
    .expect("writing to a string");
    text
}

/// Hands a script to SLURM and returns the job's number.
///
/// # Errors
/// [`Error::Io`] if there is no `sbatch`, or with what it says.
pub fn submit(script: &Path) -> Result<String> {
    let failed = |source| Error::Io {
        action: "submit",
        path: script.to_owned(),
        source,
    };
    let output = Command::new("sbatch")
        .arg("--parsable")
        .arg(script)
        .output()
        .map_err(|e| {
            let text = format!("sbatch cannot be run ({e}): is this a machine with SLURM?");
            failed(std::io::Error::new(e.kind(), text))
        })?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(failed(std::io::Error::other(text)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.trim().split(';').next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_says_what_was_promised() {
        let settings = Settings {
            at_once: 4,
            time: "02:00:00".to_owned(),
            options: vec!["--partition=gpu".to_owned()],
            flags: vec!["--device".to_owned(), "auto".to_owned()],
        };
        let text = script(
            Path::new("/runs/a b"),
            Path::new("/runs/a b/slurm/runs-1.txt"),
            12,
            &settings,
        );
        for expected in [
            "#SBATCH --array=0-11%4\n",
            "#SBATCH --output='/runs/a b/slurm/logs/%A_%a'\n",
            "#SBATCH --open-mode=append\n",
            "#SBATCH --signal=B:USR1@120\n",
            "#SBATCH --partition=gpu\n",
            "'/runs/a b/slurm/selectiv' sweep '/runs/a b' --only \"$run\" '--device' 'auto' &\n",
            "scontrol requeue \"${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}\"",
            "-lt 3",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
    }
}

//! `selectiv runs`: what has become of the runs in a folder.

use super::common::Common;
use super::inspect::{plain_table, time};
use super::print;
use crate::config::Config;
use crate::error::Result;
use crate::report::run::{State, state, written};
use crate::report::run_folders;
use crate::sweep::{PLAN_FILE, Plan, run_folder};
use crate::train::folder::{CONFIG_FILE, is_begun};
use crate::train::records::{RESULT_FILE, RunResult, metrics};
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The width that every terminal has.
const WIDTH: usize = 80;
/// Characters that a shortened name keeps.
const NARROWEST: usize = 7;

/// Arguments of `selectiv runs`.
#[derive(Debug, Clone, Args)]
pub struct RunsArgs {
    /// Folders of runs and sweeps, or folders that hold such
    #[arg(value_name = "DIR", default_value = "runs")]
    pub folders: Vec<PathBuf>,
    /// Print a list of JSON objects instead of the table
    #[arg(long)]
    pub json: bool,
}

/// A run in a line.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Listed {
    folder: String,
    task: String,
    model: String,
    seed: u64,
    state: &'static str,
    /// Why there is no result.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Updates done, and in all.
    step: u64,
    steps: u64,
    /// Of the test; before it the last one on validation samples.
    accuracy: Option<f64>,
    /// Whether the accuracy is of the test.
    tested: bool,
    chance: Option<f64>,
    ceiling: Option<f64>,
    /// Seconds since the folder was last written to.
    age_s: Option<u64>,
}

/// Lists them, the newest first.
///
/// # Errors
/// [`UserError::Folder`](crate::error::UserError) for a folder that cannot be read or holds no run.
pub fn run(args: &RunsArgs, common: &Common) -> Result<()> {
    let mut listed = Vec::new();
    for folder in &args.folders {
        list(folder, &mut listed)?;
    }
    listed.sort_by(|a, b| a.age_s.cmp(&b.age_s).then_with(|| a.folder.cmp(&b.folder)));
    if args.json {
        return print::result(
            &serde_json::to_string_pretty(&listed).expect("names and numbers have a JSON form"),
        );
    }
    if listed.is_empty() {
        common.verbosity().say("no runs");
        return Ok(());
    }
    print::result(&table(&listed, common.verbose))
}

fn list(folder: &Path, listed: &mut Vec<Listed>) -> Result<()> {
    if folder.join(PLAN_FILE).is_file() {
        let plan = Plan::from_folder(folder)?;
        for run in &plan.runs {
            listed.push(look(
                &run_folder(folder, run),
                &run.task,
                &run.model,
                Some(&run.config),
            ));
        }
        return Ok(());
    }
    if is_begun(folder) {
        listed.push(look(folder, "?", "?", None));
        return Ok(());
    }
    for inside in run_folders(folder)? {
        list(&inside, listed)?;
    }
    Ok(())
}

/// What a folder says. One that cannot be read is listed as such: the others are still wanted.
fn look(folder: &Path, task: &str, model: &str, planned: Option<&Config>) -> Listed {
    let own = match planned {
        Some(config) => Ok(config.clone()),
        None => Config::load(&folder.join(CONFIG_FILE), &[]),
    };
    let result = folder
        .join(RESULT_FILE)
        .is_file()
        .then(|| RunResult::read(folder))
        .transpose();
    let wrong = own
        .as_ref()
        .err()
        .or(result.as_ref().err())
        .map(ToString::to_string);
    let result = result.ok().flatten();
    let config = own.ok();
    let state = match wrong {
        Some(reason) => State::Failed(reason),
        None => state(folder, result.as_ref()),
    };
    let names = config
        .as_ref()
        .and_then(|config| config.run.clone())
        .unwrap_or_default();
    let lines = metrics::read(folder).unwrap_or_default();
    let validated = lines.iter().rev().find_map(|line| line.accuracy);
    let age = written(folder).and_then(|at| SystemTime::now().duration_since(at).ok());
    Listed {
        folder: folder.display().to_string(),
        task: names.task.unwrap_or_else(|| task.to_owned()),
        model: names.model.unwrap_or_else(|| model.to_owned()),
        seed: config.as_ref().map_or(0, |config| config.train.seed),
        state: state.name(),
        reason: state.reason().map(str::to_owned),
        step: result
            .as_ref()
            .map_or_else(|| lines.last().map_or(0, |line| line.step), |result| result.steps),
        steps: config.as_ref().map_or(0, |config| config.train.steps),
        accuracy: result.as_ref().map(|r| r.accuracy).or(validated),
        tested: result.is_some(),
        chance: result.as_ref().map(|r| r.chance),
        ceiling: result.as_ref().map(|r| r.ceiling),
        age_s: age.map(|age| age.as_secs()),
    }
}

fn table(listed: &[Listed], all: bool) -> String {
    const HEADER: [&str; 6] = ["run", "task", "model", "state", "accuracy (range)", "age"];
    let mut rows: Vec<[String; 6]> = listed.iter().map(|run| row(run, all)).collect();
    let length = |text: &str| text.chars().count();
    let widest = |column: usize| {
        let cells = rows.iter().map(|row| length(&row[column]));
        cells.max().unwrap_or(0).max(length(HEADER[column]))
    };
    let mut shortened = false;
    if !all {
        let others: usize = (3..6).map(widest).sum();
        // With a blank on each side of a column.
        let room = WIDTH.saturating_sub(others + 2 * HEADER.len());
        let widths = within([0, 1, 2].map(widest), room);
        for (text, most) in rows.iter_mut().flat_map(|row| row.iter_mut().zip(widths)) {
            let short = shorten(text, most);
            shortened |= short != *text;
            *text = short;
        }
    }
    let mut table = plain_table(&HEADER, 4);
    table.add_rows(rows);
    let mut text =
        table.trim_fmt() + "\naccuracy in percent, and its range from chance to the ideal observer";
    if listed.iter().any(|run| !run.tested && run.accuracy.is_some()) {
        text += "\n* on validation samples, so far";
    }
    if shortened {
        text += "\nnames are shortened; -v shows them whole";
    }
    text
}

fn row(run: &Listed, all: bool) -> [String; 6] {
    let whole = Path::new(&run.folder)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    // Task and model stand beside it.
    let rest = whole.strip_prefix(&format!("{}-{}-", run.task, run.model));
    let name = if all { &whole } else { rest.unwrap_or(&whole) };
    let state = match run.state {
        "running" | "stopped" if run.steps > 0 => {
            format!("{} {}%", run.state, 100 * run.step / run.steps)
        }
        state => state.to_owned(),
    };
    [
        name.to_owned(),
        run.task.clone(),
        run.model.clone(),
        state,
        accuracy(run),
        run.age_s.map_or_else(|| "-".to_owned(), age),
    ]
}

/// Widths that together have room: the widest give way.
fn within(mut widths: [usize; 3], room: usize) -> [usize; 3] {
    while widths.iter().sum::<usize>() > room {
        match widths.iter_mut().max() {
            Some(widest) if *widest > NARROWEST => *widest -= 1,
            _ => break,
        }
    }
    widths
}

/// `93.2 (1-100)`.
fn accuracy(run: &Listed) -> String {
    let Some(value) = run.accuracy else {
        return "-".to_owned();
    };
    let star = if run.tested { "" } else { "*" };
    let range = run.chance.zip(run.ceiling);
    let range = range.map_or_else(String::new, |(low, high)| {
        format!(" ({:.0}-{:.0})", 100.0 * low, 100.0 * high)
    });
    format!("{:.1}{star}{range}", 100.0 * value)
}

/// The beginning and the end of a text that is too long: names of a sweep differ at the end.
fn shorten(text: &str, most: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= most {
        return text.to_owned();
    }
    let head = (most - 1) / 2;
    let tail = most - 1 - head;
    let part = |chars: &[char]| chars.iter().collect::<String>();
    format!("{}…{}", part(&chars[..head]), part(&chars[chars.len() - tail..]))
}

fn age(seconds: u64) -> String {
    match seconds / 86_400 {
        0 => time(Duration::from_secs(seconds)).replace(".0 s", " s"),
        days => format!("{days} d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(folder: &str, state: &'static str) -> Listed {
        Listed {
            folder: folder.to_owned(),
            task: "quick-task".to_owned(),
            model: "gated_delta_product".to_owned(),
            seed: 1,
            state,
            reason: None,
            step: 50,
            steps: 200,
            accuracy: Some(0.9317),
            tested: state == "done",
            chance: (state == "done").then_some(0.0103),
            ceiling: (state == "done").then_some(1.0),
            age_s: Some(5400),
        }
    }

    #[test]
    fn eighty_columns_are_enough_and_what_is_cut_is_said() {
        let long =
            "runs/quick/quick-task-gated_delta_product-vocab=13-ambiguities=12-depth=8-lr=0.002-seed=1";
        let all = [listed(long, "done"), listed("runs/a", "running")];
        let text = table(&all, false);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        for part in [
            "seed=1",
            "quick-task",
            "running 25%",
            "93.2*",
            "93.2 (1-100)",
            "90 min",
            "shortened",
        ] {
            assert!(text.contains(part), "no {part} in\n{text}");
        }
        // Where there is room nothing is cut.
        let short = [listed("runs/a", "done"), listed("runs/b", "running")];
        let text = table(&short, false);
        assert!(
            text.contains("quick-task  gated_delta_product") && !text.contains("shortened"),
            "{text}"
        );
        let whole = table(&all, true);
        assert!(whole.contains("ambiguities=12") && !whole.contains("shortened"));
    }

    #[test]
    fn the_widest_names_give_way() {
        assert_eq!(within([30, 10, 19], 60), [30, 10, 19]);
        assert_eq!(within([47, 10, 19], 35).iter().sum::<usize>(), 35);
        assert_eq!(within([47, 10, 19], 35)[1], 10);
        assert_eq!(within([47, 10, 19], 3), [NARROWEST; 3]);
    }

    #[test]
    fn names_keep_their_ends() {
        assert_eq!(shorten("abcdefghij", 10), "abcdefghij");
        assert_eq!(shorten("abcdefghijk", 6), "ab…ijk");
        assert_eq!(
            [59, 7_199, 90_000, 864_000].map(age),
            ["59 s", "120 min", "1 d", "10 d"]
        );
    }
}

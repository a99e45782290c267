//! What the first screen says: how many runs are done, and what came out, in computed sentences.

use super::format;
use super::groups::{Groups, apart};
use super::run::{Run, State};
use super::source::Material;
use super::table::best_of;
use std::collections::BTreeMap;

/// How many runs are in which state.
#[derive(Debug, Clone)]
pub(super) struct Count {
    /// The state.
    pub(super) name: &'static str,
    /// Runs.
    pub(super) runs: usize,
}

/// A run without a result and why.
#[derive(Debug, Clone)]
pub(super) struct Without {
    /// The run.
    pub(super) id: String,
    /// Its state.
    pub(super) state: &'static str,
    /// Why, where it is known.
    pub(super) reason: String,
}

/// All of it.
#[derive(Debug, Clone)]
pub(super) struct Head {
    /// Of the page.
    pub(super) title: String,
    /// States with their numbers of runs.
    pub(super) counts: Vec<Count>,
    /// Runs that are not done.
    pub(super) without: Vec<Without>,
    /// One a setting: the best model and whether it is apart from the second.
    pub(super) findings: Vec<String>,
    /// Day of the newest run.
    pub(super) day: Option<String>,
    /// Of the programs that ran.
    pub(super) commits: Vec<String>,
    /// What it ran on.
    pub(super) adapters: Vec<String>,
}

impl Head {
    /// Of all that was given.
    pub(super) fn new(groups: &Groups, material: &Material) -> Self {
        let mut counts: BTreeMap<usize, Count> = BTreeMap::new();
        const ORDER: [&str; 6] = ["done", "running", "stopped", "missing", "diverged", "failed"];
        for run in &material.runs {
            let name = run.state.name();
            let place = ORDER.iter().position(|n| *n == name).unwrap_or(ORDER.len());
            counts.entry(place).or_insert(Count { name, runs: 0 }).runs += 1;
        }
        let without = material
            .runs
            .iter()
            .filter(|run| run.state != State::Done)
            .map(|run| Without {
                id: run.id.clone(),
                state: run.state.name(),
                reason: run.state.reason().unwrap_or_default().to_owned(),
            });
        let findings = (0..groups.settings.len()).filter_map(|s| finding(groups, s, material));
        let newest = material.runs.iter().filter_map(|run| run.written).max();
        let of_runs = |value: fn(&Run) -> Option<String>| unique(material.runs.iter().filter_map(value));
        let mut commits = of_runs(|run| run.commit.clone());
        commits.extend(unique(
            material.benches.iter().map(|file| file.report.commit.clone()),
        ));
        commits.extend(unique(
            material.checks.iter().map(|file| file.report.commit.clone()),
        ));
        let mut adapters = of_runs(Run::device);
        adapters.extend(unique(
            material.benches.iter().map(|file| file.report.device.clone()),
        ));
        adapters.extend(unique(material.checks.iter().map(|file| file.card())));
        Self {
            title: title(material),
            counts: counts.into_values().collect(),
            without: without.collect(),
            findings: findings.collect(),
            day: newest.map(format::day),
            commits: unique(commits.into_iter()),
            adapters: unique(adapters.into_iter()),
        }
    }
}

/// Each once, in the order of their first appearance.
pub(super) fn unique(values: impl Iterator<Item = String>) -> Vec<String> {
    let mut found = Vec::new();
    for value in values {
        if !found.contains(&value) {
            found.push(value);
        }
    }
    found
}

fn title(material: &Material) -> String {
    let names: Vec<String> = match material.sweeps.as_slice() {
        [] => unique(material.runs.iter().map(|run| run.task.clone())),
        sweeps => sweeps
            .iter()
            .map(|sweep| super::run::name_of(&sweep.path))
            .collect(),
    };
    match (names.is_empty(), material.benches.is_empty()) {
        (false, _) => names.join(", "),
        (true, false) => "Speed of cards".to_owned(),
        (true, true) => "Checks of cards".to_owned(),
    }
}

/// The best variant of a setting, its interval, and whether it is apart from the second.
fn finding(groups: &Groups, setting: usize, material: &Material) -> Option<String> {
    let best = best_of(groups, setting)?;
    let mean = best.accuracy?;
    let label = |cell| groups.variant(cell).label();
    let ceiling = best.mean(material, |run| Some(run.done()?.ceiling))?;
    let seeds = match mean.n {
        1 => "one seed".to_owned(),
        n => format!("{n} seeds"),
    };
    let text = format!(
        "{}: best is {} with {} ({seeds}; ideal observer {:.1} %)",
        groups.settings[setting].label(),
        label(best),
        format::percent_text(&mean),
        100.0 * ceiling.mean
    );
    let second = groups
        .of_setting(setting)
        .filter(|cell| cell.variant != best.variant && cell.accuracy.is_some())
        .max_by(|a, b| {
            let mean = |cell: &&super::Cell| cell.accuracy.map_or(0.0, |m| m.mean);
            mean(a).total_cmp(&mean(b))
        });
    let Some(second) = second else {
        return Some(format!("{text}."));
    };
    let name = label(second);
    let value = second
        .accuracy
        .map_or_else(String::new, |mean| format::percent_text(&mean));
    Some(match apart(best, second, material) {
        Some(true) => format!("{text}, apart from the second, {name} with {value}."),
        Some(false) => format!("{text}; not apart from {name} with {value}."),
        None => format!("{text}; too few seeds to say whether it is apart from {name} with {value}."),
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::material;
    use super::*;

    #[test]
    fn the_sentences_are_computed() {
        let mut material = material();
        let head = Head::new(&Groups::new(&material), &material);
        assert_eq!(
            head.findings[0],
            "tiny: vocab 9, ambiguities 6, depth 4: best is gated_delta_net with 90.0 ± 1.2 % (3 seeds; ideal observer \
             99.0 %), apart from the second, gla with 75.5 ± 1.2 %."
        );
        assert_eq!(
            (head.title.as_str(), head.day.as_deref()),
            ("grid", Some("2026-11-27"))
        );
        assert!(head.without.is_empty() && head.counts.len() == 1);

        for run in material.runs.iter_mut().filter(|run| run.config.train.seed > 1) {
            run.state = State::Failed("disk full".to_owned());
        }
        let head = Head::new(&Groups::new(&material), &material);
        assert!(
            head.findings[0].contains("too few seeds to say"),
            "{}",
            head.findings[0]
        );
        assert_eq!(head.without.len(), 12);
        assert_eq!(head.without[0].reason, "disk full");
    }
}

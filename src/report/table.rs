//! The table of models and tasks: means, intervals, seeds between chance and ceiling, and the paper's values.

use super::format;
use super::groups::{Cell, Groups, Variant, apart};
use super::paper;
use super::source::Material;
use super::svg::escaped;
use std::fmt::Write as _;

/// A cell of the table.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Mean in percent, to sort by; empty before a run is done.
    pub(super) sort_text: String,
    /// `86.4`.
    pub(super) mean: String,
    /// `± 0.5`, or what is missing.
    pub(super) below: String,
    /// Whether it is the best of its column, or its interval overlaps that of the best.
    pub(super) best: bool,
    /// Seeds on an axis from chance to ceiling, as SVG.
    pub(super) strip: String,
    /// The paper's value: `75 ± 1`.
    pub(super) paper: Option<String>,
    /// `+` or `-` where the difference to the paper's is beyond both spreads.
    pub(super) beyond: Option<char>,
    /// `3 of 4 seeds`.
    pub(super) seeds: String,
}

/// A row of the table.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// The variant.
    pub(super) label: String,
    /// The model, for the legend.
    pub(super) model: String,
    /// Class of its colour.
    pub(super) color: usize,
    /// Most parameters, for reading.
    pub(super) params: String,
    /// The same, to sort by.
    pub(super) params_raw: String,
    /// A cell a setting.
    pub(super) entries: Vec<Option<Entry>>,
}

/// A column's head.
#[derive(Debug, Clone)]
pub(super) struct Column {
    /// The task.
    pub(super) task: String,
    /// Its varied fields.
    pub(super) fields: String,
    /// `chance 1.0 %, bigram 30.7 %, ceiling 99.5 %`.
    pub(super) levels: String,
}

/// All of it.
#[derive(Debug, Clone)]
pub(super) struct Table {
    /// Settings of tasks.
    pub(super) columns: Vec<Column>,
    /// Variants of models.
    pub(super) rows: Vec<Row>,
    /// Whether there is a value of the paper in it.
    pub(super) has_paper: bool,
    /// Whether one is marked.
    pub(super) has_marks: bool,
}

/// Accuracies to compare a cell with, as fractions: means over its seeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Levels {
    /// 1 / classes.
    pub(super) chance: f64,
    /// The best answer to the current symbol alone.
    pub(super) unigram: f64,
    /// The best answer to the last two symbols.
    pub(super) bigram: f64,
    /// The ideal observer.
    pub(super) ceiling: f64,
}

impl Levels {
    /// Over all runs of a setting that are done.
    pub(super) fn of(groups: &Groups, setting: usize, material: &Material) -> Option<Self> {
        let runs: Vec<_> = groups
            .of_setting(setting)
            .flat_map(|cell| cell.done(material))
            .filter_map(|run| run.done())
            .collect();
        let mean = |value: fn(&crate::train::records::RunResult) -> f64| {
            runs.iter().map(|r| value(r)).sum::<f64>() / runs.len() as f64
        };
        (!runs.is_empty()).then(|| Self {
            chance: mean(|r| r.chance),
            unigram: mean(|r| r.baseline_n1),
            bigram: mean(|r| r.baseline_n2),
            ceiling: mean(|r| r.ceiling),
        })
    }
}

impl Table {
    /// Of all groups.
    pub(super) fn new(groups: &Groups, material: &Material) -> Self {
        let levels: Vec<Option<Levels>> = (0..groups.settings.len())
            .map(|s| Levels::of(groups, s, material))
            .collect();
        let columns = groups
            .settings
            .iter()
            .zip(&levels)
            .map(|(setting, levels)| Column {
                task: setting.task.clone(),
                fields: setting.fields_text(),
                levels: levels.map_or_else(String::new, |l| {
                    format!(
                        "chance {:.1}, bigram {:.1}, ceiling {:.1} %",
                        100.0 * l.chance,
                        100.0 * l.bigram,
                        100.0 * l.ceiling
                    )
                }),
            })
            .collect();
        let best: Vec<Option<&Cell>> = (0..groups.settings.len()).map(|s| best_of(groups, s)).collect();
        let rows = groups
            .variants
            .iter()
            .enumerate()
            .map(|(v, variant)| {
                let entries = (0..groups.settings.len()).map(|s| {
                    let cell = groups.cell(s, v)?;
                    Some(entry(
                        cell,
                        variant,
                        &groups.settings[s].task,
                        best[s],
                        levels[s],
                        material,
                    ))
                });
                let entries: Vec<Option<Entry>> = entries.collect();
                let params = groups
                    .cells
                    .iter()
                    .filter(|cell| cell.variant == v)
                    .flat_map(|cell| &cell.runs)
                    .filter_map(|&i| material.runs[i].params)
                    .max();
                Row {
                    label: variant.label(),
                    model: variant.model.clone(),
                    color: variant.style.color,
                    params: params.map_or_else(|| "–".to_owned(), |n| format::count(n as f64)),
                    params_raw: params.map_or_else(String::new, |n| n.to_string()),
                    entries,
                }
            })
            .collect::<Vec<Row>>();
        let all = || rows.iter().flat_map(|row| row.entries.iter().flatten());
        Self {
            has_paper: all().any(|entry| entry.paper.is_some()),
            has_marks: all().any(|entry| entry.beyond.is_some()),
            columns,
            rows,
        }
    }
}

/// The cell with the highest mean of a setting.
pub(super) fn best_of(groups: &Groups, setting: usize) -> Option<&Cell> {
    groups
        .of_setting(setting)
        .filter(|cell| cell.accuracy.is_some())
        .max_by(|a, b| mean(a).total_cmp(&mean(b)))
}

fn mean(cell: &Cell) -> f64 {
    cell.accuracy.map_or(f64::NEG_INFINITY, |mean| mean.mean)
}

fn entry(
    cell: &Cell,
    variant: &Variant,
    task: &str,
    best: Option<&Cell>,
    levels: Option<Levels>,
    material: &Material,
) -> Entry {
    let done = cell.seeds(material);
    let seeds = match done.len() {
        n if n == cell.runs.len() => format!("{n} seed{}", if n == 1 { "" } else { "s" }),
        n => format!("{n} of {} seeds", cell.runs.len()),
    };
    let paper = paper::printed(task, &variant.model);
    // Half of an interval against the spread that is printed.
    let beyond = paper.zip(cell.accuracy).and_then(|(paper, ours)| {
        let difference = ours.mean - paper.mean;
        (difference.abs() > ours.half_width? + paper.spread).then_some(if difference > 0.0 {
            '+'
        } else {
            '−'
        })
    });
    let (text, below) = match &cell.accuracy {
        None => ("–".to_owned(), what_is_missing(cell, material)),
        Some(mean) => match format::percent(mean) {
            (text, Some(half)) => (text, format!("± {half}")),
            (text, None) => (text, "one seed".to_owned()),
        },
    };
    Entry {
        sort_text: cell
            .accuracy
            .map_or_else(String::new, |mean| (100.0 * mean.mean).to_string()),
        mean: text,
        below,
        best: best.is_some_and(|best| is_level(cell, best, material)),
        strip: levels.map_or_else(String::new, |levels| strip(&done, cell, levels)),
        // As it is printed, in percent.
        paper: paper.map(|p| {
            let [mean, spread] = [p.mean, p.spread].map(|x| (1000.0 * x).round() / 10.0);
            format!("{mean} ± {spread}")
        }),
        beyond,
        seeds,
    }
}

/// Whether a cell is the best one, or not apart from it: their intervals overlap.
fn is_level(cell: &Cell, best: &Cell, material: &Material) -> bool {
    if cell.variant == best.variant {
        return true;
    }
    let interval = |cell: &Cell| cell.accuracy?.interval();
    match (interval(cell), interval(best)) {
        (Some(ours), Some(best)) => ours[1] >= best[0],
        // Without intervals, paired seeds cannot tell either: the highest alone is marked.
        _ => apart(best, cell, material) == Some(false),
    }
}

fn what_is_missing(cell: &Cell, material: &Material) -> String {
    let mut states: Vec<&str> = cell.runs.iter().map(|&i| material.runs[i].state.name()).collect();
    states.sort_unstable();
    states.dedup();
    states.join(", ")
}

/// Seeds as dots and the interval as a bar on an axis from chance to ceiling.
fn strip(done: &[(u64, f64)], cell: &Cell, levels: Levels) -> String {
    const WIDTH: f64 = 132.0;
    const HEIGHT: f64 = 16.0;
    let at = |accuracy: f64| {
        let share = (accuracy - levels.chance) / (levels.ceiling - levels.chance).max(1e-9);
        4.0 + (WIDTH - 8.0) * share.clamp(-0.02, 1.02)
    };
    let middle = HEIGHT / 2.0;
    let mut out = format!(
        "<svg class=\"strip\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        match &cell.accuracy {
            Some(mean) => format!(
                "{} between chance and ceiling, bigram predictor {:.1} %",
                format::percent_text(mean),
                100.0 * levels.bigram
            ),
            None => "no run is done".to_owned(),
        }
    );
    let mut tick = |accuracy: f64, name: &str| {
        let x = at(accuracy);
        write!(
            out,
            "<path class=\"ax\" d=\"M{x:.1} 3V13\"><title>{}: {:.2} %</title></path>",
            escaped(name),
            100.0 * accuracy
        )
        .expect("writing to a string");
    };
    tick(levels.chance, "chance");
    tick(levels.bigram, "bigram predictor");
    tick(levels.ceiling, "ideal observer");
    let (left, right) = (at(levels.chance), at(levels.ceiling));
    write!(out, "<path class=\"gr\" d=\"M{left:.1} {middle}H{right:.1}\"/>").expect("writing to a string");
    if let Some([low, high]) = cell.accuracy.and_then(|mean| mean.interval()) {
        write!(
            out,
            "<path d=\"M{:.1} {middle}H{:.1}\" stroke=\"currentColor\" stroke-width=\"4\" stroke-opacity=\"0.3\"/>",
            at(low),
            at(high)
        )
        .expect("writing to a string");
    }
    for (seed, accuracy) in done {
        write!(
            out,
            "<circle cx=\"{:.1}\" cy=\"{middle}\" r=\"2.6\" fill=\"currentColor\" fill-opacity=\"0.85\">\
             <title>seed {seed}: {:.2} %</title></circle>",
            at(*accuracy),
            100.0 * accuracy
        )
        .expect("writing to a string");
    }
    out.push_str("</svg>");
    out
}

#[cfg(test)]
mod tests {
    use super::super::testing::material;
    use super::*;

    #[test]
    fn best_and_those_that_are_not_apart_are_bold() {
        let material = material();
        let groups = Groups::new(&material);
        let table = Table::new(&groups, &material);
        let bold = |column: usize| -> Vec<&str> {
            let rows = table.rows.iter();
            let best = rows.filter(|row| row.entries[column].as_ref().is_some_and(|e| e.best));
            best.map(|row| row.label.as_str()).collect()
        };
        assert_eq!(bold(0), ["gated_delta_net"]);
        let entry = table.rows[2].entries[0].as_ref().unwrap();
        assert_eq!((entry.mean.as_str(), entry.below.as_str()), ("90.0", "± 1.2"));
        assert_eq!(entry.seeds, "3 seeds");
        assert_eq!(entry.strip.matches("<circle").count(), 3);
        assert!(entry.paper.is_none() && !table.has_paper);
        assert!(table.columns[0].levels.contains("ceiling"));
    }

    #[test]
    fn differences_to_the_paper_are_marked_beyond_both_spreads() {
        let mut material = material();
        for run in &mut material.runs {
            run.task = "task1".to_owned();
        }
        let groups = Groups::new(&material);
        let table = Table::new(&groups, &material);
        assert!(table.has_paper && table.has_marks);
        let of = |row: usize| {
            let entry = table.rows[row].entries[0].as_ref().unwrap();
            (entry.paper.clone().unwrap(), entry.beyond)
        };
        // Ours: transformer 70 +- 1.2, gla 75.5 +- 1.2, gated_delta_net 90 +- 1.2.
        assert_eq!(of(0), ("86 ± 0.5".to_owned(), Some('−')));
        assert_eq!(of(1), ("75 ± 1".to_owned(), None));
        assert_eq!(of(2), ("87 ± 1".to_owned(), Some('+')));
    }
}

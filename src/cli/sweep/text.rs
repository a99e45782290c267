//! The tables of a sweep, for reading.

use super::super::common::Verbosity;
use super::super::inspect::plain_table;
use crate::stats::Mean;
use crate::sweep::{Cell, Comparison, Summary};

/// Means over seeds, then the comparisons. Where fields are selected, the best values alone unless all are asked for.
pub(super) fn summary(summary: &Summary, verbosity: Verbosity) -> String {
    let all = verbosity == Verbosity::Verbose;
    let shown = |cell: &&Cell| all || cell.selected != Some(false);
    let cells: Vec<&Cell> = summary.cells.iter().filter(shown).collect();
    let mut parts = vec![means(&cells)];
    if cells.iter().any(|cell| cell.by_test_gap.len() > 1) {
        parts.push(test_gaps(&cells));
    }
    if !summary.comparisons.is_empty() {
        parts.push(comparisons(&summary.comparisons));
    }
    parts.push(summary.method.to_owned());
    parts.join("\n\n")
}

fn means(cells: &[&Cell]) -> String {
    let mut table = plain_table(
        &[
            "task", "model", "fields", "seeds", "accuracy", "ceiling", "updates",
        ],
        3,
    );
    for cell in cells {
        let [done, all] = cell.done;
        let seeds = if done == all {
            done.to_string()
        } else {
            format!("{done} of {all}")
        };
        table.add_row([
            cell.task.clone(),
            cell.model.clone(),
            fields(&cell.fields),
            seeds,
            cell.accuracy.as_ref().map_or_else(|| "-".to_owned(), percent),
            cell.ceiling
                .as_ref()
                .map_or_else(|| "-".to_owned(), |m| format!("{:.2} %", 100.0 * m.mean)),
            updates(cell),
        ]);
    }
    table.trim_fmt()
}

/// Updates to the accuracy that was asked for, and over how many seeds if not all reached it.
fn updates(cell: &Cell) -> String {
    match &cell.steps_to {
        None => "-".to_owned(),
        Some(mean) if mean.n < cell.done[0] => format!("{:.0} ({} seeds)", mean.mean, mean.n),
        Some(mean) => format!("{:.0}", mean.mean),
    }
}

fn test_gaps(cells: &[&Cell]) -> String {
    let mut table = plain_table(&["task", "model", "fields", "test gap", "accuracy"], 3);
    for cell in cells {
        for (gap, mean) in &cell.by_test_gap {
            table.add_row([
                cell.task.clone(),
                cell.model.clone(),
                fields(&cell.fields),
                gap.clone(),
                percent(mean),
            ]);
        }
    }
    table.trim_fmt()
}

fn comparisons(list: &[Comparison]) -> String {
    let mut table = plain_table(
        &["task", "fields", "difference of accuracy", "seeds", "points", "p"],
        3,
    );
    for comparison in list {
        let [first, second] = &comparison.models;
        let difference = &comparison.accuracy.difference;
        table.add_row([
            comparison.task.clone(),
            fields(&comparison.fields),
            format!("{first} - {second}"),
            difference.n.to_string(),
            points(difference),
            comparison
                .accuracy
                .p
                .map_or_else(|| "-".to_owned(), |p| format!("{p:.2e}")),
        ]);
    }
    table.trim_fmt()
}

fn fields(fields: &[(String, String)]) -> String {
    let last = |field: &str| field.rsplit('.').next().unwrap_or(field).to_owned();
    let field = |(field, value): &(String, String)| format!("{}={value}", last(field));
    fields.iter().map(field).collect::<Vec<_>>().join(" ")
}

fn percent(mean: &Mean) -> String {
    match mean.half_width {
        Some(half) => format!("{:.2} +- {:.2} %", 100.0 * mean.mean, 100.0 * half),
        None => format!("{:.2} %", 100.0 * mean.mean),
    }
}

/// A difference is not shown without its interval.
fn points(mean: &Mean) -> String {
    match mean.interval() {
        Some([low, high]) => {
            format!(
                "{:+.2} [{:+.2}, {:+.2}]",
                100.0 * mean.mean,
                100.0 * low,
                100.0 * high
            )
        }
        None => "one seed".to_owned(),
    }
}

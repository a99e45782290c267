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

/// Rows under a line for each task and its fields, which would leave no room for the numbers beside them.
fn grouped(header: &[&str], first_number: usize, rows: Vec<(String, Vec<String>)>) -> String {
    let mut groups: Vec<(String, Vec<Vec<String>>)> = Vec::new();
    for (heading, row) in rows {
        match groups.iter_mut().find(|(known, _)| *known == heading) {
            Some((_, rows)) => rows.push(row),
            None => groups.push((heading, vec![row])),
        }
    }
    let mut table = plain_table(header, first_number);
    table.add_rows(groups.iter().flat_map(|(_, rows)| rows));
    let text = table.trim_fmt();
    let mut lines = text.lines();
    let mut out: Vec<&str> = lines.next().into_iter().collect();
    for (heading, rows) in &groups {
        out.push(heading);
        out.extend(lines.by_ref().take(rows.len()));
    }
    out.join("\n")
}

fn heading(task: &str, of: &[(String, String)]) -> String {
    match fields(of).as_str() {
        "" => task.to_owned(),
        fields => format!("{task}: {fields}"),
    }
}

fn means(cells: &[&Cell]) -> String {
    let row = |cell: &&Cell| {
        let [done, all] = cell.done;
        let seeds = if done == all {
            done.to_string()
        } else {
            format!("{done} of {all}")
        };
        let row = vec![
            cell.model.clone(),
            seeds,
            cell.accuracy.as_ref().map_or_else(|| "-".to_owned(), percent),
            cell.ceiling
                .as_ref()
                .map_or_else(|| "-".to_owned(), |m| format!("{:.2} %", 100.0 * m.mean)),
            updates(cell),
        ];
        (heading(&cell.task, &cell.fields), row)
    };
    let header = ["model", "seeds", "accuracy", "ceiling", "updates"];
    grouped(&header, 1, cells.iter().map(row).collect())
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
    let rows = cells.iter().flat_map(|cell| {
        let gaps = cell.by_test_gap.iter();
        gaps.map(|(gap, mean)| {
            let row = vec![cell.model.clone(), gap.clone(), percent(mean)];
            (heading(&cell.task, &cell.fields), row)
        })
    });
    grouped(&["model", "test gap", "accuracy"], 1, rows.collect())
}

fn comparisons(list: &[Comparison]) -> String {
    let row = |comparison: &Comparison| {
        let [first, second] = &comparison.models;
        let difference = &comparison.accuracy.difference;
        let row = vec![
            format!("{first} - {second}"),
            difference.n.to_string(),
            points(difference),
            comparison
                .accuracy
                .p
                .map_or_else(|| "-".to_owned(), |p| format!("{p:.2e}")),
        ];
        (heading(&comparison.task, &comparison.fields), row)
    };
    let header = ["difference of accuracy", "n", "points", "p"];
    grouped(&header, 1, list.iter().map(row).collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eighty_columns_have_room_for_the_longest_names() {
        let long = |field: &str, value: &str| (format!("grammar.{field}"), value.to_owned());
        let fields = [
            long("vocab", "13"),
            long("ambiguities", "12"),
            long("depth", "8"),
            long("lr", "0.005"),
        ];
        let of = heading("quick-task", &fields);
        assert_eq!(of, "quick-task: vocab=13 ambiguities=12 depth=8 lr=0.005");
        let row = |model: &str| {
            let numbers = ["2 of 16", "84.30 +- 14.69 %", "100.00 %", "12345 (2 seeds)"].map(str::to_owned);
            [vec![model.to_owned()], numbers.to_vec()].concat()
        };
        let rows = vec![
            (of.clone(), row("gated_delta_product")),
            ("task1".to_owned(), row("gla")),
            (of, row("gated_delta_net")),
        ];
        let text = grouped(&["model", "seeds", "accuracy", "ceiling", "updates"], 1, rows);
        let begins: Vec<&str> = text
            .lines()
            .map(|line| line.split_whitespace().next().unwrap())
            .collect();
        let expected = [
            "model",
            "quick-task:",
            "gated_delta_product",
            "gated_delta_net",
            "task1",
            "gla",
        ];
        assert_eq!(begins, expected, "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}

//! What a step is made of: the call list of `--dry-run -v` and the table of `--profile`.

use crate::graph::Graph;
use crate::train::CallTime;
use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets};
use std::collections::BTreeMap;
use std::time::Duration;

pub(super) use crate::report::format::{bytes, count, counted, time};

/// The width that every terminal has.
const COLUMNS: u16 = 80;

/// A table without lines: the given columns, of which those from `first_number` on are flush right.
pub(super) fn plain_table(header: &[&str], first_number: usize) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(header.iter().copied());
    for column in table.column_iter_mut().skip(first_number) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A table with lines under its header that keeps to 80 columns, or shows all that it has.
pub(super) fn ruled_table(all: bool) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    if !all {
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(COLUMNS);
    }
    table
}

/// Gives each column the room of its longest word at least, and what is left of 80 columns to those that have more to
/// say: lines break between words.
pub(super) fn keep_words(table: &mut Table) {
    let cells: Vec<Vec<String>> = table
        .header()
        .into_iter()
        .chain(table.row_iter())
        .map(|row| row.cell_iter().map(Cell::content).collect())
        .collect();
    let length = |text: &str| text.chars().count();
    let column = |i: usize| cells.iter().filter_map(move |row| row.get(i));
    let columns = table.column_count();
    let longest_word = |i| {
        column(i)
            .flat_map(|text| text.split_whitespace())
            .map(length)
            .max()
    };
    let mut widths: Vec<usize> = (0..columns).map(|i| longest_word(i).unwrap_or(0)).collect();
    let whole: Vec<usize> = (0..columns)
        .map(|i| column(i).map(|text| length(text)).max().unwrap_or(0))
        .collect();
    // A blank before a column and one between two.
    let taken = widths.iter().sum::<usize>() + 2 * columns;
    for _ in taken..=usize::from(COLUMNS) {
        let missing = |i: &usize| whole[*i].saturating_sub(widths[*i]);
        match (0..columns).max_by_key(missing) {
            Some(i) if missing(&i) > 0 => widths[i] += 1,
            _ => break,
        }
    }
    for (column, width) in table.column_iter_mut().zip(widths) {
        let width = u16::try_from(width + 1).unwrap_or(u16::MAX);
        column
            .set_padding((1, 0))
            .set_constraint(ColumnConstraint::Absolute(Width::Fixed(width)));
    }
}

/// Every call of a graph: op, place in the model, what it writes, bytes and FLOPs.
pub(super) fn call_list(graph: &Graph) -> String {
    let mut table = plain_table(&["call", "op", "scope", "writes", "bytes", "FLOPs"], 4);
    for (i, call) in graph.calls().iter().enumerate() {
        let cost = call.op.cost(call.pass, graph.precision());
        let writes: Vec<String> = call
            .tensors
            .all_writes()
            .map(|out| {
                let info = graph.tensor(out.tensor);
                let sign = if out.accumulate { "+= " } else { "" };
                format!("{sign}{} {:?}", info.name, info.shape)
            })
            .collect();
        table.add_row([
            i.to_string(),
            format!("{}_{}", call.op.name(), call.pass.suffix()),
            call.scope.clone(),
            writes.join("\n"),
            bytes(cost.bytes),
            count(cost.flops),
        ]);
    }
    table.trim_fmt()
}

#[derive(Default)]
struct Total {
    calls: usize,
    time: Duration,
    flops: f64,
    bytes: f64,
}

/// Share of the time of each op, forward and backward, with the rates that its own cost formula gives.
pub(super) fn profile_table(times: &[CallTime]) -> String {
    let mut totals: BTreeMap<String, Total> = BTreeMap::new();
    let mut all = Duration::ZERO;
    for call in times {
        let total = totals
            .entry(format!("{}_{}", call.op, call.pass.suffix()))
            .or_default();
        total.calls += 1;
        total.time += call.time;
        total.flops += call.cost.flops;
        total.bytes += call.cost.bytes;
        all += call.time;
    }
    let mut rows: Vec<(String, Total)> = totals.into_iter().collect();
    rows.sort_by_key(|(_, total)| std::cmp::Reverse(total.time));
    let mut table = plain_table(&["op", "calls", "time", "share", "GFLOP/s", "GB/s"], 1);
    for (op, total) in rows {
        let seconds = total.time.as_secs_f64().max(1e-12);
        table.add_row([
            op,
            total.calls.to_string(),
            time(total.time),
            format!("{:.1} %", 100.0 * seconds / all.as_secs_f64().max(1e-12)),
            format!("{:.1}", total.flops / seconds * 1e-9),
            format!("{:.1}", total.bytes / seconds * 1e-9),
        ]);
    }
    format!(
        "{}\none micro-batch and the update: {}",
        table.trim_fmt(),
        time(all)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::pointwise::{Function, Pointwise};
    use crate::port::{Cost, Pass};
    use crate::tensor::Dtype;

    #[test]
    fn call_list_names_ops_and_tensors() {
        let mut graph = Graph::new();
        let x = graph.input("x", &[64], Dtype::F32);
        graph
            .scoped("layers.0", |g| {
                g.call(
                    Pointwise {
                        numel: 64,
                        function: Function::Sigmoid,
                        scale: 1.0,
                        offset: 0.0,
                    },
                    &[x],
                )
            })
            .unwrap();
        let list = call_list(&graph);
        let row = list.lines().nth(1).unwrap();
        for word in ["pointwise_fwd", "layers.0", "pointwise.y [64]", "512 B", "384"] {
            assert!(row.contains(word), "{word} in {row}");
        }
    }

    #[test]
    fn profile_adds_up_ops_and_sorts_them() {
        let call = |op, pass, ms| CallTime {
            op,
            pass,
            time: Duration::from_millis(ms),
            cost: Cost {
                flops: 1e6,
                bytes: 2e6,
            },
        };
        let table = profile_table(&[
            call("norm", Pass::Forward, 1),
            call("matmul", Pass::Forward, 2),
            call("norm", Pass::Forward, 2),
            call("norm", Pass::Backward, 5),
        ]);
        let rows: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(rows[1], ["norm_bwd", "1", "5.0", "ms", "50.0", "%", "0.2", "0.4"]);
        assert_eq!(rows[2], ["norm_fwd", "2", "3.0", "ms", "30.0", "%", "0.7", "1.3"]);
        assert_eq!(rows[3][..2], ["matmul_fwd", "1"]);
        assert!(table.ends_with("update: 10.0 ms"), "{table}");
    }
}

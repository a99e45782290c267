//! What a step is made of: the call list of `--dry-run -v` and the table of `--profile`.

use crate::graph::Graph;
use crate::train::CallTime;
use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets};
use std::collections::BTreeMap;
use std::time::Duration;

pub(super) use crate::report::format::{bytes, count, time};

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

/// Makes each column as wide as its longest word at least: lines break between words.
pub(super) fn keep_words(table: &mut Table) {
    let rows: Vec<Vec<String>> = table
        .header()
        .into_iter()
        .chain(table.row_iter())
        .map(|row| row.cell_iter().map(Cell::content).collect())
        .collect();
    for (i, column) in table.column_iter_mut().enumerate() {
        let words = rows
            .iter()
            .filter_map(|row| row.get(i))
            .flat_map(|text| text.split_whitespace());
        let longest = words.map(|word| word.chars().count()).max().unwrap_or(0);
        // With a blank on each side.
        let width = u16::try_from(longest + 2).unwrap_or(u16::MAX);
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(width)));
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

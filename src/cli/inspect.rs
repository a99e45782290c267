//! What a step is made of: the call list of `--dry-run -v` and the table of `--profile`.

use crate::graph::Graph;
use crate::train::CallTime;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use std::collections::BTreeMap;
use std::time::Duration;

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

/// A number of bytes for reading.
pub(super) fn bytes(n: f64) -> String {
    scaled(n, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"])
}

/// A count for reading.
pub(super) fn count(n: f64) -> String {
    scaled(n, 1000.0, &["", "k", "M", "G", "T", "P"])
}

fn scaled(mut n: f64, base: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while n >= 0.9995 * base && unit + 1 < units.len() {
        n /= base;
        unit += 1;
    }
    let text = if unit == 0 || n >= 99.95 {
        format!("{n:.0} {}", units[unit])
    } else {
        format!("{n:.1} {}", units[unit])
    };
    text.trim_end().to_owned()
}

/// A time for reading.
pub(super) fn time(t: Duration) -> String {
    let s = t.as_secs_f64();
    match s {
        _ if s < 1e-3 => format!("{:.0} us", s * 1e6),
        _ if s < 1.0 => format!("{:.1} ms", s * 1e3),
        _ if s < 120.0 => format!("{s:.1} s"),
        _ if s < 7200.0 => format!("{:.0} min", s / 60.0),
        _ => format!("{:.1} h", s / 3600.0),
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
    fn numbers_for_reading() {
        let read = [bytes(512.0), bytes(1536.0), bytes(3.0 * 1024.0 * 1024.0 * 1024.0)];
        assert_eq!(read, ["512 B", "1.5 KiB", "3.0 GiB"]);
        assert_eq!(
            [count(7.0), count(39_223_000.0), count(999_960.0)],
            ["7", "39.2 M", "1.0 M"]
        );
        let times = [2e-5, 0.25, 90.0, 600.0, 36_000.0].map(|s| time(Duration::from_secs_f64(s)));
        assert_eq!(times, ["20 us", "250.0 ms", "90.0 s", "10 min", "10.0 h"]);
    }

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

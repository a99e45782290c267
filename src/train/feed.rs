//! What goes to the device and comes back: batches into the inputs of a net, small results out of it.

use crate::error::Result;
use crate::graph::Graph;
use crate::models::Net;
use crate::runtime::{Data, Program, Runtime, Ticket};
use crate::tasks::{Batch, IGNORE, NO_SYMBOL};
use crate::tensor::TensorId;
use std::ops::Range;
use std::time::Duration;

/// How long the host sleeps between two looks at a result that is late.
pub(super) const LOOK_AGAIN: Duration = Duration::from_micros(100);

/// A tensor and the call that wrote it, in words.
pub(super) fn written_at(graph: &Graph, call: usize, tensor: TensorId) -> String {
    let call = &graph.calls()[call];
    let name = &graph.tensor(tensor).name;
    let place = if call.scope.is_empty() {
        String::new()
    } else {
        format!(" of {}", call.scope)
    };
    format!("`{name}` at {}_{}{place}", call.op.name(), call.pass.suffix())
}

/// Extents of a net's inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extents {
    /// Samples, B.
    b: usize,
    /// Steps, T.
    t: usize,
    /// Elements of a sample, E.
    e: usize,
}

impl Extents {
    /// Those of a net.
    fn of(net: &Net) -> Self {
        let symbols = &net.graph.tensor(net.symbols).shape;
        let windows = net.graph.tensor(net.window_labels).numel();
        Self {
            b: symbols[0],
            t: symbols[1],
            e: windows / symbols[0],
        }
    }
}

/// The inputs of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Inputs {
    symbols: Vec<u32>,
    labels: Vec<u32>,
    windows: Vec<u32>,
    window_labels: Vec<u32>,
}

impl Inputs {
    /// Samples `rows` of a batch. Missing samples and steps are empty: no symbol, no target, windows of length 0.
    fn new(batch: &Batch, rows: Range<usize>, extents: Extents) -> Self {
        let Extents { b, t, e } = extents;
        assert!(
            rows.len() <= b && batch.t <= t && batch.elements <= e,
            "a batch fits the net that it is given to"
        );
        let mut inputs = Self {
            symbols: vec![NO_SYMBOL; b * t],
            labels: vec![IGNORE; b * t],
            windows: vec![0; 2 * b * e],
            window_labels: vec![IGNORE; b * e],
        };
        for (to, from) in rows.enumerate() {
            let source = from * batch.t..(from + 1) * batch.t;
            let target = to * t..to * t + batch.t;
            inputs.symbols[target.clone()].copy_from_slice(&batch.symbols[source.clone()]);
            inputs.labels[target].copy_from_slice(&batch.labels[source]);
            let source = from * batch.elements..(from + 1) * batch.elements;
            let target = to * e..to * e + batch.elements;
            inputs.window_labels[target.clone()].copy_from_slice(&batch.window_labels[source.clone()]);
            let windows = inputs.windows[2 * target.start..2 * target.end].chunks_exact_mut(2);
            for (to, from) in windows.zip(&batch.windows[source]) {
                to.copy_from_slice(from);
            }
        }
        inputs
    }
}

/// Writes samples `rows` of a batch; the rest of the net's samples are empty.
pub(crate) fn write_inputs(
    runtime: &mut dyn Runtime,
    program: Program,
    net: &Net,
    batch: &Batch,
    rows: Range<usize>,
) -> Result<()> {
    let inputs = Inputs::new(batch, rows, Extents::of(net));
    runtime.write(program, net.symbols, Data::U32(&inputs.symbols))?;
    runtime.write(program, net.labels, Data::U32(&inputs.labels))?;
    runtime.write(program, net.windows, Data::U32(&inputs.windows))?;
    runtime.write(program, net.window_labels, Data::U32(&inputs.window_labels))
}

/// Waits for one fetched result, and not, as [`Runtime::take`] would, for everything that was queued after it.
pub(super) fn take_when_ready(runtime: &mut dyn Runtime, ticket: Ticket) -> Result<Vec<f32>> {
    loop {
        match runtime.take(ticket, false)? {
            Some(values) => return Ok(values),
            None => std::thread::sleep(LOOK_AGAIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_out_and_padded() {
        let batch = Batch {
            b: 3,
            t: 4,
            first_idx: 0,
            symbols: (0..12).collect(),
            labels: (100..112).collect(),
            windows: (0..6).map(|i| [2 * (i % 2), 2]).collect(),
            window_labels: (200..206).collect(),
            elements: 2,
            tokens: 12,
        };
        let inputs = Inputs::new(&batch, 1..2, Extents { b: 2, t: 5, e: 2 });
        let (n, i) = (NO_SYMBOL, IGNORE);
        assert_eq!(inputs.symbols, [4, 5, 6, 7, n, n, n, n, n, n]);
        assert_eq!(inputs.labels, [104, 105, 106, 107, i, i, i, i, i, i]);
        assert_eq!(inputs.windows, [0, 2, 2, 2, 0, 0, 0, 0]);
        assert_eq!(inputs.window_labels, [202, 203, i, i]);
    }
}

//! What goes to the device and comes back: batches into the inputs of a net, small results out of it.

use crate::error::Result;
use crate::graph::Graph;
use crate::models::{InputForm, InputNoise, ModelConfig, Net, NoiseInput};
use crate::runtime::{Data, Program, Runtime, Ticket};
use crate::tasks::{Batch, DataSet, DataSpec, IGNORE, NO_SYMBOL, Splits};
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

/// The model with input rows as a data set needs them.
pub fn fed_by(model: &ModelConfig, data: &DataSet) -> ModelConfig {
    ModelConfig {
        inputs: input_form(data.spec()),
        ..model.clone()
    }
}

/// How the input rows of samples are made.
pub(super) fn input_form(spec: &DataSpec) -> InputForm {
    let level = spec.noise as f32;
    InputForm {
        filled: spec.nongrammatical,
        noise: match spec.splits {
            _ if level == 0.0 => InputNoise::None,
            Splits::Disjoint => InputNoise::Drawn(level),
            // Its generator has one state after the other, which a device cannot walk side by side.
            Splits::Reference => InputNoise::Given(level),
        },
    }
}

/// The inputs of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Inputs {
    symbols: Vec<u32>,
    windows: Vec<u32>,
    window_labels: Vec<u32>,
}

impl Inputs {
    /// Samples `rows` of a batch for a net of B samples, T steps and E elements. Missing samples and steps are empty: no
    /// symbol, no target, windows of length 0.
    fn new(batch: &Batch, rows: &Range<usize>, [b, t, e]: [usize; 3]) -> Self {
        assert!(
            rows.len() <= b && batch.t <= t && batch.elements == e,
            "a batch fits the net that it is given to"
        );
        let of_elements = rows.start * e..rows.end * e;
        let padded = |values: &[u32], missing: u32, len: usize| {
            let mut values = values.to_vec();
            values.resize(len, missing);
            values
        };
        let symbols = if batch.step_symbols.is_empty() {
            padded(&batch.symbols[of_elements.clone()], NO_SYMBOL, b * e)
        } else {
            let mut symbols = vec![NO_SYMBOL; b * t];
            let of_steps = rows.start * batch.t..rows.end * batch.t;
            for (to, from) in symbols
                .chunks_mut(t)
                .zip(batch.step_symbols[of_steps].chunks(batch.t))
            {
                to[..batch.t].copy_from_slice(from);
            }
            symbols
        };
        let mut windows = batch.windows[of_elements.clone()].concat();
        windows.resize(2 * b * e, 0);
        Self {
            symbols,
            windows,
            window_labels: padded(&batch.window_labels[of_elements], IGNORE, b * e),
        }
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
    let inputs = Inputs::new(batch, &rows, [net.b, net.t, net.e]);
    runtime.write(program, net.symbols, Data::U32(&inputs.symbols))?;
    runtime.write(program, net.windows, Data::U32(&inputs.windows))?;
    match net.noise {
        None => {}
        Some(NoiseInput::Keys(id)) => {
            let mut keys = batch.noise_keys()[4 * rows.start..4 * rows.end].to_vec();
            keys.resize(4 * net.b, 0);
            runtime.write(program, id, Data::U32(&keys))?;
        }
        Some(NoiseInput::Values(id)) => {
            let values = net.graph.tensor(id).numel() / net.b;
            let step = values / net.t;
            let mut noise = vec![0.0; values * net.b];
            let samples = batch.reference_noise.chunks(batch.t * step);
            for (to, from) in noise
                .chunks_mut(values)
                .zip(samples.skip(rows.start).take(rows.len()))
            {
                to[..from.len()].copy_from_slice(from);
            }
            runtime.write(program, id, Data::F32(&noise))?;
        }
    }
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
    use crate::tasks::Split;

    #[test]
    fn rows_are_cut_out_and_padded() {
        let batch = Batch {
            b: 3,
            t: 4,
            elements: 2,
            split: Split::Train,
            seed: 7,
            indices: vec![5, 6, 7],
            symbols: (0..6).collect(),
            windows: (0..6).map(|i| [2 * (i % 2), 2]).collect(),
            window_labels: (200..206).collect(),
            step_symbols: Vec::new(),
            reference_noise: Vec::new(),
            tokens: 12,
        };
        let inputs = Inputs::new(&batch, &(1..2), [2, 5, 2]);
        let (n, i) = (NO_SYMBOL, IGNORE);
        assert_eq!(inputs.symbols, [2, 3, n, n]);
        assert_eq!(inputs.windows, [0, 2, 2, 2, 0, 0, 0, 0]);
        assert_eq!(inputs.window_labels, [202, 203, i, i]);
        assert_eq!(batch.noise_keys()[..8], [7, 0, 5, 4, 7, 0, 6, 4]);
        let filled = Batch {
            step_symbols: (0..12).collect(),
            ..batch
        };
        let inputs = Inputs::new(&filled, &(1..2), [2, 5, 2]);
        assert_eq!(inputs.symbols, [4, 5, 6, 7, n, n, n, n, n, n]);
    }
}

//! What the gates of a trained model do, apart for steps with a symbol and steps of a gap.

use super::evaluate::not_finite;
use super::executor::Executor;
use super::feed::{fed_by, write_inputs, written_at};
use super::fit::{halved, largest};
use super::stepper::Weights;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::models::{Form, Gate, ModelConfig, Net, ShownGate};
use crate::ops::head_loss::LOSS;
use crate::runtime::{Program, Runtime};
use crate::step::StepParams;
use crate::tasks::{Batch, DataSet, IGNORE, Split};
use crate::tensor::Bank;
use rayon::prelude::*;
use serde::Serialize;

/// Test samples that are looked at.
const SAMPLES: u64 = 32;
/// Samples of a batch.
const BATCH: usize = 8;

/// Mean values of a gate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GateMean {
    /// Place in the stack, from 0.
    pub layer: usize,
    /// Name of the block.
    pub block: &'static str,
    /// What the gate does.
    pub gate: Gate,
    /// From 0.
    pub head: usize,
    /// Mean over the steps that show a symbol.
    pub symbols: f64,
    /// Mean over the steps of gaps, if there are any.
    pub gaps: Option<f64>,
}

/// Sum and count over symbols, then over gaps.
type Sums = [(f64, f64); 2];

/// Means over the first test samples, by layer, gate and head.
///
/// # Errors
/// [`UserError::Malformed`](crate::error::UserError) (with `place`) if the weights are not this model's; the device's.
pub fn gate_means(
    executor: &mut Executor,
    model: &ModelConfig,
    weights: &Weights,
    data: &DataSet,
    place: &str,
) -> Result<Vec<GateMean>> {
    executor.runtime().reset();
    let reader = GateReader::new(executor, model, data)?;
    let bank = weights.bank(&reader.net.graph, Bank::Param, place)?;
    executor.runtime().write_bank(Bank::Param, &bank)?;
    reader.means(executor, data)
}

/// A net that keeps its gates, over the same parameter bank as everything else on its device.
pub struct GateReader {
    net: Net,
    program: Program,
    blocks: Vec<&'static str>,
    batch: usize,
    extents: [usize; 2],
}

impl GateReader {
    /// Plans it for test samples of a data set.
    ///
    /// # Errors
    /// The model's; [`OutOfMemory`](crate::error::OutOfMemory) if one sample does not fit.
    pub fn new(executor: &mut Executor, model: &ModelConfig, data: &DataSet) -> Result<Self> {
        let extents = Self::extents(data);
        let build = |batch| {
            let mut net = fed_by(model, data).eval_net(batch, extents[0], extents[1])?;
            net.keep_gates();
            Ok(net)
        };
        let most = BATCH.min(data.count(Split::Test) as usize).max(1);
        let fit = largest(executor.runtime(), halved(most), build, |_, _| {})?;
        Ok(Self {
            net: fit.net,
            program: fit.programs[0],
            blocks: model.blocks.iter().map(|block| block.name()).collect(),
            batch: fit.size,
            extents,
        })
    }

    fn extents(data: &DataSet) -> [usize; 2] {
        [data.max_steps(Split::Test), data.spec().length]
    }

    /// Bytes that it takes besides the parameters.
    pub(super) fn bytes(&self, runtime: &dyn Runtime) -> usize {
        runtime.program_bytes(self.program)
    }

    /// Whether it is planned for the test samples of a data set.
    pub(super) fn fits(&self, data: &DataSet) -> bool {
        self.extents == Self::extents(data) && self.batch as u64 <= data.count(Split::Test).max(1)
    }

    /// Means over the first test samples, with the parameters that are on the device.
    ///
    /// # Errors
    /// [`NumericError::NotFiniteInTest`](crate::error::NumericError) if a gate or the loss is not finite; the device's.
    pub fn means(&self, executor: &mut Executor, data: &DataSet) -> Result<Vec<GateMean>> {
        let Self { net, program, .. } = self;
        let samples = data.count(Split::Test).min(SAMPLES);
        let runtime = executor.runtime();
        let mut sums: Vec<Vec<Sums>> = net.gates.iter().map(|g| vec![Sums::default(); g.heads]).collect();
        let mut first = 0;
        while first < samples {
            let count = self.batch.min((samples - first) as usize);
            let samples = data.batch(Split::Test, first, count);
            write_inputs(runtime, *program, net, &samples, 0..count)?;
            runtime.run(*program, &StepParams::eval(samples.tokens))?;
            for (gate, sums) in net.gates.iter().zip(&mut sums) {
                add(runtime, *program, net, gate, &samples, sums)?;
            }
            let mut all = sums.iter().flatten().flatten();
            let loss = runtime.read(*program, net.stats)?[LOSS];
            if !loss.is_finite() || !all.all(|(sum, _)| sum.is_finite()) {
                let step = StepParams::eval(samples.tokens);
                return Err(first_not_finite(runtime, *program, &net.graph, &step, "a gate"));
            }
            first += count as u64;
        }
        let mean = |(sum, count): (f64, f64)| (count > 0.0).then(|| sum / count);
        let mut rows = Vec::new();
        for (gate, sums) in net.gates.iter().zip(sums) {
            for (head, [symbols, gaps]) in sums.into_iter().enumerate() {
                rows.push(GateMean {
                    layer: gate.layer,
                    block: self.blocks[gate.layer],
                    gate: gate.gate,
                    head,
                    symbols: mean(symbols).unwrap_or(f64::NAN),
                    gaps: mean(gaps),
                });
            }
        }
        rows.sort_by_key(|row| (row.layer, row.gate, row.head));
        Ok(rows)
    }
}

/// The error that names the first tensor of a program that is not finite on test samples; `what` if it is none of these.
pub(super) fn first_not_finite(
    runtime: &mut dyn Runtime,
    program: Program,
    graph: &Graph,
    step: &StepParams,
    what: &str,
) -> Error {
    match runtime.first_not_finite(program, step) {
        Err(e) => e,
        Ok(found) => {
            let named = found.map(|(call, tensor, at)| (written_at(graph, call, tensor), at));
            not_finite(Split::Test, named.unwrap_or_else(|| (what.to_owned(), 0)))
        }
    }
}

/// Adds the steps of a batch that have a target: what comes after a sample's end is padding.
fn add(
    runtime: &mut dyn Runtime,
    program: Program,
    net: &Net,
    gate: &ShownGate,
    batch: &Batch,
    sums: &mut [Sums],
) -> Result<()> {
    let read: Vec<Vec<f64>> = gate
        .tensors
        .iter()
        .map(|id| runtime.read(program, *id))
        .collect::<Result<_>>()?;
    let (rows, t) = (net.b * net.t, net.t);
    let width = read[0].len() / rows;
    let shown = if gate.form == Form::SigmoidOfHalf {
        width / 2
    } else {
        width
    };
    let head = |column: usize| match gate.interleaved {
        true => column % gate.heads,
        false => column * gate.heads / shown,
    };
    let labels = batch.step_labels();
    let steps = (0..batch.b * batch.t).filter(|i| labels[*i] != IGNORE);
    let steps: Vec<usize> = steps.collect();
    let of_steps: Vec<Vec<f64>> = steps
        .par_iter()
        .map(|i| {
            let row = i / batch.t * t + i % batch.t;
            let mut by_head = vec![0.0; gate.heads];
            for column in 0..shown {
                by_head[head(column)] += value(gate.form, &read, row * width, column, width);
            }
            by_head
        })
        .collect();
    let mut first = vec![false; batch.b * batch.t];
    for (at, [step, _]) in batch.windows.iter().enumerate() {
        first[at / batch.elements * batch.t + *step as usize] = true;
    }
    let columns = (shown / gate.heads) as f64;
    for (i, by_head) in steps.iter().zip(of_steps) {
        let class = usize::from(!first[*i]);
        for (sums, sum) in sums.iter_mut().zip(by_head) {
            sums[class].0 += sum / columns;
            sums[class].1 += 1.0;
        }
    }
    Ok(())
}

/// The gate of a column; `row` is where its row begins in the first tensor.
fn value(form: Form, read: &[Vec<f64>], row: usize, column: usize, width: usize) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    let x = read[0][row + column];
    match form {
        Form::Exp => x.exp(),
        Form::Plain => x,
        Form::Silu => x * sigmoid(x),
        Form::Sigmoid => sigmoid(x),
        Form::SigmoidOfHalf => sigmoid(read[0][row + width / 2 + column]),
        Form::Step => softplus(x + read[1][column]),
        Form::StateDecay => {
            let step = softplus(x + read[1][column]);
            let n = read[2].len() / width;
            let states = &read[2][column * n..(column + 1) * n];
            states.iter().map(|a| (-step * a.exp()).exp()).sum::<f64>() / n as f64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_follow_from_their_tensors() {
        let x = [vec![0.0, -1.0, 2.0, 0.5]];
        let near = |form, read: &[Vec<f64>], column, want: f64| {
            let got = value(form, read, 0, column, 4);
            assert!((got - want).abs() < 1e-12, "{form:?}: {got}, not {want}");
        };
        near(Form::Exp, &x, 1, (-1.0f64).exp());
        near(Form::Plain, &x, 2, 2.0);
        near(Form::Silu, &x, 2, 2.0 / (1.0 + (-2.0f64).exp()));
        near(Form::SigmoidOfHalf, &x, 1, 1.0 / (1.0 + (-0.5f64).exp()));
        let bias = vec![0.25; 4];
        let step = 0.25f64.exp().ln_1p();
        near(Form::Step, &[x[0].clone(), bias.clone()], 0, step);
        let rates = vec![0.0, 1.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0];
        let want = 0.5 * ((-step).exp() + (-step * 1f64.exp()).exp());
        near(Form::StateDecay, &[x[0].clone(), bias, rates], 0, want);
    }
}

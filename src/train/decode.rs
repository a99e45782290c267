//! A trained model token by token, with the state that it carries, beside its form over whole sequences.

use super::evaluate::{GoOn, not_finite};
use super::executor::Executor;
use super::feed::fed_by;
use super::fit::{halved, largest};
use super::gates::first_not_finite;
use super::stepper::Weights;
use crate::error::Result;
use crate::models::{LogitsNet, ModelConfig};
use crate::runtime::{Data, Program, Runtime};
use crate::step::StepParams;
use crate::tasks::{Batch, DataSet, IGNORE, NO_SYMBOL, Split};
use crate::tensor::Bank;
use serde::Serialize;
use std::time::Instant;

/// Test samples that are compared.
const SAMPLES: usize = 64;
/// Relative difference of the logits (norm) beyond which the two forms do not agree. Rounding in f32 leaves 1e-6 to 1e-5
/// over eight layers.
const AGREES: f64 = 1e-4;

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decoded {
    /// Samples.
    pub samples: usize,
    /// Their steps with a target.
    pub tokens: usize,
    /// norm(difference of the logits) / norm(logits) over these steps.
    pub error: f64,
    /// Accuracy over whole sequences.
    pub accuracy_chunkwise: f64,
    /// Accuracy token by token.
    pub accuracy_decode: f64,
    /// Bytes of state of one sequence, a layer; with attention, at the last token.
    pub state_bytes: Vec<usize>,
    /// Tokens a second, all sequences together, logits left on the device.
    pub tokens_per_s: f64,
}

impl Decoded {
    /// Whether the two forms differ by no more than rounding.
    pub fn agrees(&self) -> bool {
        self.error <= AGREES
    }
}

/// Runs the first test samples both ways, and says how many of the tokens are done, of both passes token by token. `None` if
/// it was not to go on.
///
/// # Errors
/// [`crate::error::UserError::Malformed`] (with `place`) if the weights are not this model's;
/// [`NumericError::NotFiniteInTest`](crate::error::NumericError) if a logit is not finite; the device's.
pub fn decode(
    executor: &mut Executor,
    model: &ModelConfig,
    weights: &Weights,
    data: &DataSet,
    place: &str,
    go_on: &mut GoOn<'_>,
) -> Result<Option<Decoded>> {
    executor.runtime().reset();
    let t = data.max_steps(Split::Test);
    let most = SAMPLES
        .min(usize::try_from(data.count(Split::Test)).unwrap_or(SAMPLES))
        .max(1);
    let model = &fed_by(model, data);
    let build = |b| Ok((model.logits_net(b, t)?, model.decode_net(b, t)?));
    let fit = largest(executor.runtime(), halved(most), build, |_, _| {})?;
    let (b, (whole, stepwise)) = (fit.size, fit.net);
    let (at_once, one) = (fit.programs[0], fit.programs[1]);
    let batch = data.batch(Split::Test, 0, b);
    let step = StepParams::eval(batch.tokens);
    let runtime = executor.runtime();
    runtime.write_bank(Bank::Param, &weights.bank(&whole.graph, Bank::Param, place)?)?;

    let fed = Fed::new(data, &batch);
    runtime.write(
        at_once,
        whole.symbols,
        Data::U32(&wider(&fed.symbols, NO_SYMBOL, [batch.t, t])),
    )?;
    if let Some(noise) = whole.noise {
        let vocab = data.grammar().vocab();
        let values = wider(&fed.noise, 0.0, [batch.t * vocab, t * vocab]);
        runtime.write(at_once, noise, Data::F32(&values))?;
    }
    runtime.run(at_once, &step)?;
    let want = runtime.read(at_once, whole.logits)?;
    let broken = |values: &[f64]| values.iter().any(|v| !v.is_finite());
    if broken(&want) {
        return Err(first_not_finite(runtime, at_once, &whole.graph, &step, "a logit"));
    }

    let k = model.classes;
    let mut got = vec![0.0; want.len()];
    let all = 2 * batch.t as u64;
    for i in 0..batch.t {
        if !go_on(i as u64, all) {
            return Ok(None);
        }
        fed.token(runtime, one, &stepwise, i, &step)?;
        let logits = runtime.read(one, stepwise.logits)?;
        for (row, logits) in logits.chunks(k).enumerate() {
            got[(row * t + i) * k..][..k].copy_from_slice(logits);
        }
    }
    if broken(&got) {
        return Err(not_finite(Split::Test, ("a logit token by token".to_owned(), 0)));
    }
    runtime.clear_states(one)?;
    runtime.wait()?;
    let start = Instant::now();
    for i in 0..batch.t {
        if !go_on((batch.t + i) as u64, all) {
            return Ok(None);
        }
        fed.token(runtime, one, &stepwise, i, &step)?;
    }
    runtime.wait()?;
    let seconds = start.elapsed().as_secs_f64().max(1e-9);

    let (mut difference, mut norm) = (0.0, 0.0);
    let labels = batch.step_labels();
    for i in (0..b * batch.t).filter(|i| labels[*i] != IGNORE) {
        let at = (i / batch.t * t + i % batch.t) * k;
        for (got, want) in got[at..at + k].iter().zip(&want[at..at + k]) {
            difference += (got - want).powi(2);
            norm += want.powi(2);
        }
    }
    let mut state_bytes = vec![0; model.blocks.len()];
    for (_, state) in stepwise.graph.states() {
        let layer = state
            .name
            .strip_prefix("layers.")
            .and_then(|rest| rest.split('.').next());
        if let Some(layer) = layer.and_then(|layer| layer.parse::<usize>().ok()) {
            state_bytes[layer] += state.bytes() / b;
        }
    }
    Ok(Some(Decoded {
        samples: b,
        tokens: batch.tokens,
        error: (difference / norm).sqrt(),
        accuracy_chunkwise: accuracy(&want, &batch, t, k),
        accuracy_decode: accuracy(&got, &batch, t, k),
        state_bytes,
        tokens_per_s: batch.tokens as f64 / seconds,
    }))
}

/// Rows of a width made wider.
fn wider<T: Copy>(rows: &[T], missing: T, [from, to]: [usize; 2]) -> Vec<T> {
    let mut all = vec![missing; rows.len() / from * to];
    for (to, row) in all.chunks_mut(to).zip(rows.chunks(from)) {
        to[..from].copy_from_slice(row);
    }
    all
}

/// What goes into the nets of a batch.
struct Fed {
    /// Steps, T.
    t: usize,
    /// `[B, T]`.
    symbols: Vec<u32>,
    /// `[B, T, V]`, or empty.
    noise: Vec<f32>,
}

impl Fed {
    fn new(data: &DataSet, batch: &Batch) -> Self {
        Self {
            t: batch.t,
            symbols: batch.spread_symbols(),
            noise: match data.spec().noise > 0.0 {
                true => data.noise(batch),
                false => Vec::new(),
            },
        }
    }

    /// Queues token `i` of every sequence.
    fn token(
        &self,
        runtime: &mut dyn Runtime,
        program: Program,
        net: &LogitsNet,
        i: usize,
        step: &StepParams,
    ) -> Result<()> {
        let symbols: Vec<u32> = self.symbols.iter().skip(i).step_by(self.t).copied().collect();
        runtime.write(program, net.symbols, Data::U32(&symbols))?;
        if let Some(noise) = net.noise {
            let vocab = self.noise.len() / self.symbols.len();
            let rows = self.noise.chunks(vocab).skip(i).step_by(self.t);
            let values: Vec<f32> = rows.flatten().copied().collect();
            runtime.write(program, noise, Data::F32(&values))?;
        }
        if let Some(position) = net.position {
            runtime.write(program, position, Data::U32(&[i as u32]))?;
        }
        runtime.run(program, step)
    }
}

/// Share of the windows in which the class with the largest sum of probabilities is right (models.md 4.12).
fn accuracy(logits: &[f64], batch: &Batch, t: usize, k: usize) -> f64 {
    let (mut right, mut all) = (0, 0);
    for (i, [first, len]) in batch.windows.iter().enumerate().filter(|(_, w)| w[1] > 0) {
        let mut sums = vec![0.0; k];
        for step in *first..first + len {
            let row = &logits[(i / batch.elements * t + step as usize) * k..][..k];
            let most = row.iter().copied().fold(f64::MIN, f64::max);
            let total: f64 = row.iter().map(|x| (x - most).exp()).sum();
            for (sum, x) in sums.iter_mut().zip(row) {
                *sum += (x - most).exp() / total;
            }
        }
        let best = (0..k).rev().max_by(|a, b| sums[*a].total_cmp(&sums[*b]));
        right += usize::from(best == Some(batch.window_labels[i] as usize));
        all += 1;
    }
    right as f64 / all.max(1) as f64
}

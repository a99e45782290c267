//! A block of your own, outside of the crate: what it takes to be trained, decoded and looked into like the built-in ones.
//!
//! ```text
//! cargo run --release --example new_block
//! ```
//!
//! The block remembers a moving average of what it has seen, a head at a time, with a decay that depends on the data:
//!
//! ```text
//! S_t = a_t S_{t-1} + (1 - a_t) v_t        a_t = sigmoid(W_a x_t), a number a head
//! y_t = W_o S_t                            v_t = W_v x_t, d / H numbers a head
//! ```
//!
//! That is additive linear attention with keys and queries of width 1 that are always 1, so the op is already there, with
//! its kernels, its gradients and its form for decoding. Names such as `v_proj` become those of the parameters.

#![allow(clippy::disallowed_macros, reason = "an example prints what it finds")]

use selectiv::config::default_warmup;
use selectiv::error::{Result, UserError};
use selectiv::graph::Graph;
use selectiv::models::{self, Block, BlockContext, Form, Gate, ModelConfig, Taxonomy};
use selectiv::ops::Decay;
use selectiv::ops::linear_attention::LinearAttention;
use selectiv::ops::pointwise::Function;
use selectiv::ops::scale::Scale;
use selectiv::runtime::Data;
use selectiv::step::StepParams;
use selectiv::tasks::{DataSet, DataSpec, Gap, Grammar, GrammarSpec, Split, Splits};
use selectiv::tensor::TensorId;
use selectiv::train::{Executor, Recipe, Schedule, Stepper, gate_means};
use std::sync::Arc;

/// Widest head that the recurrence takes.
const MAX_WIDTH: usize = 256;

/// Updates.
const STEPS: u64 = 60;
/// Samples of an update.
const BATCH: usize = 16;
/// Sequences that are decoded.
const DECODED: usize = 4;

/// See the module docs.
#[derive(Debug)]
struct MovingAverage;

impl Block for MovingAverage {
    fn name(&self) -> &'static str {
        "moving_average"
    }

    fn describe(&self) -> &'static str {
        "a moving average a head, with a decay that depends on the data"
    }

    fn taxonomy(&self) -> Taxonomy {
        Taxonomy {
            transition: "a",
            decay: "head, data-dependent",
            write_gate: "1 - a, a head",
            complementary: "yes (a makes both)",
            readout: "identity",
            output_gate: "no",
            channel_mixing: "no",
            gate_params: "d H + H",
            paper_gate_params: "-",
        }
    }

    /// `a_proj`: d H + H.
    fn gate_params(&self, config: &ModelConfig) -> usize {
        config.d_model * config.heads + config.heads
    }

    fn validate(&self, config: &ModelConfig) -> Result<()> {
        let width = config.head_dim();
        if width <= MAX_WIDTH {
            return Ok(());
        }
        Err(UserError::Shape {
            op: self.name(),
            reason: format!("a head of {width} channels: at most {MAX_WIDTH}"),
        }
        .into())
    }

    fn build(&self, g: &mut Graph, x: TensorId, c: &BlockContext<'_>) -> Result<TensorId> {
        let (d, h, rows) = (c.config().d_model, c.config().heads, c.rows());
        let width = d / h;
        let v = c.linear(g, "v_proj", x, [d, d], false)?;
        let a = c.linear(g, "a_proj", x, [d, h], true)?;
        // Decays are logarithms until the last moment: products of many are sums, and none is lost to rounding.
        let log_a = c.pointwise(g, Function::LogSigmoid, 1.0, a)?;
        let write = c.pointwise(g, Function::Complement, 1.0, log_a)?;
        c.show(Gate::Decay, Form::Exp, &[log_a], h);
        c.show(Gate::Write, Form::Plain, &[write], h);
        // An op that looks at single time steps is called as it is; Graph::call returns its outputs.
        let scale = Scale::activations(rows * h, width);
        let v = g.call(scale, &[v, write])?[0];
        let ones = c.constant(g, rows * h, 1.0)?;
        // One that looks at several is called through the context, which knows whether whole sequences go through this
        // graph or one token at a time, with a state.
        let average = LinearAttention {
            b: c.b(),
            t: c.t(),
            h,
            d_k: 1,
            d_v: width,
            scale: 1.0,
            decay: Decay::Scalar,
            shared_qk: false,
            chunk: c.config().chunk,
        };
        let y = c.over_time(g, average, &[ones, ones, v, log_a])?;
        c.linear(g, "o_proj", y, [d, d], false)
    }
}

fn main() -> Result<()> {
    run(&mut |line| println!("{line}"))
}

/// Trains a stack of the block and built-in ones on the CPU, then decodes with it. Every line that the program prints goes
/// to `print`.
pub(crate) fn run(print: &mut dyn FnMut(&str)) -> Result<()> {
    let data = data()?;
    let (vocab, classes) = (data.grammar().vocab(), data.grammar().classes());
    let model = ModelConfig {
        blocks: vec![
            &MovingAverage,
            models::block("delta_net")?,
            &MovingAverage,
            models::block("transformer")?,
        ],
        dropout: 0.0,
        ..ModelConfig::new(&MovingAverage, 1, 32, vocab, classes)
    };
    print(&format!("{}: {} parameters", model.name(), model.param_count()?));
    let (mut stepper, losses) = train(&model, &data)?;
    for (done, loss) in (1..).zip(losses) {
        if done == 1 || done % 10 == 0 {
            print(&format!("update {done:3}   loss {loss:.4}"));
        }
    }
    let difference = decode(&model, &data, &mut stepper.executor)?;
    print(&format!(
        "decoded token by token, logits differ by {difference:.1e}"
    ));

    // What the block shows of its gates, as `selectiv eval --gates` has it for a trained run.
    let weights = stepper.weights()?;
    for mean in gate_means(&mut stepper.executor, &model, &weights, &data, "this example")? {
        let (layer, head, gate) = (mean.layer, mean.head, mean.gate);
        if mean.block == MovingAverage.name() && gate == Gate::Decay {
            let gaps = mean.gaps.map_or("-".to_owned(), |gaps| format!("{gaps:.3}"));
            print(&format!(
                "layer {layer} head {head}: decay {:.3} on symbols, {gaps} in gaps",
                mean.symbols
            ));
        }
    }
    Ok(())
}

/// A small Task 1; `examples/train.rs` says what the fields mean.
fn data() -> Result<DataSet> {
    let grammar = Grammar::generate(&GrammarSpec {
        vocab: 9,
        ambiguities: 6,
        depth: 4,
        seed: 1,
    })?;
    let spec = DataSpec::plain(32, Splits::Disjoint, [STEPS * BATCH as u64, 0, 16], Gap::Fixed(1));
    Ok(DataSet::new(Arc::new(grammar), spec, 1)?)
}

/// The trained parameters, on their executor, and the loss of each update.
fn train(model: &ModelConfig, data: &DataSet) -> Result<(Stepper, Vec<f64>)> {
    let recipe = Recipe {
        schedule: Schedule {
            lr: 5e-3,
            warmup: default_warmup(STEPS) as f64,
            steps: STEPS,
            floor: 0.0,
        },
        clip: 1.0,
        dropout_until: u64::MAX,
        seed: 1,
        batch: BATCH,
    };
    let extents = [data.max_steps(Split::Train), data.spec().length];
    let mut stepper = Stepper::new(Executor::cpu(), model, recipe, extents, None, &mut |_| {})?;
    let mut losses = Vec::new();
    for step in 0..STEPS {
        stepper.step(step, &data.batch(Split::Train, step * BATCH as u64, BATCH))?;
        losses.extend(stepper.drain()?.iter().map(|report| report.loss));
    }
    Ok((stepper, losses))
}

/// Runs test samples over whole sequences and token by token: norm(difference) / norm of the logits. All programs of an
/// executor share its parameters, here the trained ones. `selectiv::train::decode` does this and more.
fn decode(model: &ModelConfig, data: &DataSet, executor: &mut Executor) -> Result<f64> {
    let batch = data.batch(Split::Test, 0, DECODED);
    // Without gaps a symbol is a time step; the rest of a batch is padding.
    let (b, t, k) = (batch.b, data.spec().length, model.classes);
    let step = StepParams::eval(batch.tokens);
    let runtime = executor.runtime();

    let whole = model.logits_net(b, t)?;
    let program = runtime.load(&whole.graph)?;
    runtime.write(program, whole.symbols, Data::U32(&batch.symbols))?;
    runtime.run(program, &step)?;
    // [B, T, K]
    let at_once = runtime.read(program, whole.logits)?;

    let token = model.decode_net(b, t)?;
    let program = runtime.load(&token.graph)?;
    let position = token.position.expect("a decoding net has one");
    let (mut difference, mut norm) = (0.0, 0.0);
    for i in 0..t {
        let symbols: Vec<u32> = batch.symbols.iter().skip(i).step_by(t).copied().collect();
        runtime.write(program, token.symbols, Data::U32(&symbols))?;
        runtime.write(program, position, Data::U32(&[i as u32]))?;
        runtime.run(program, &step)?;
        // [B, 1, K]
        let logits = runtime.read(program, token.logits)?;
        for (row, got) in logits.chunks(k).enumerate() {
            let want = &at_once[(row * t + i) * k..][..k];
            difference += got.iter().zip(want).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
            norm += want.iter().map(|x| x.powi(2)).sum::<f64>();
        }
    }
    Ok((difference / norm).sqrt())
}

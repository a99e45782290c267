//! Whole graphs: a training step, an evaluation, and the update of the parameters.

use super::context::Decoding;
use super::{ModelConfig, ShownGate};
use crate::error::Result;
use crate::graph::{Graph, Output};
use crate::ops::adam::Adam;
use crate::ops::grad_norm::GradNorm;
use crate::ops::head_loss::HeadLoss;
use crate::ops::linear::Linear;
use crate::ops::one_hot::{Noise, OneHot};
use crate::ops::spread::{Part, Spread};
use crate::tensor::{Bank, Dtype, Precision, TensorId};

/// How the rows that a model reads are made of what travels to the device.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct InputForm {
    /// Whether the symbol of every step is given, as gaps are filled with symbols; else that of every element.
    pub filled: bool,
    /// What is added to the one-hot rows.
    pub noise: InputNoise,
}

/// Noise of input rows, with its level.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum InputNoise {
    /// None.
    #[default]
    None,
    /// Made on the device.
    Drawn(f32),
    /// Made by the host.
    Given(f32),
}

/// What the noise of a net's input rows is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoiseInput {
    /// \[B,4\] u32: seed, split, idx and steps of each sample.
    Keys(TensorId),
    /// \[B T,V\] in \[0, 1).
    Values(TensorId),
}

/// A model's graph, and the tensors that training and evaluation talk to.
#[derive(Debug, Clone)]
pub struct Net {
    /// The calls.
    pub graph: Graph,
    /// Samples, B.
    pub b: usize,
    /// Steps, T.
    pub t: usize,
    /// Elements, E.
    pub e: usize,
    /// u32 symbols, `NO_SYMBOL` (`u32::MAX`) for a zero row: \[B,E\], or \[B,T\] where gaps are filled.
    pub symbols: TensorId,
    /// What noise is made from, if there is any.
    pub noise: Option<NoiseInput>,
    /// \[B,E,2\] u32: first step and length of each element's window.
    pub windows: TensorId,
    /// \[B,E\] u32: class of each element.
    pub window_labels: TensorId,
    /// \[4\] f32: sum of nll * `step.inv_tokens`, windows right and not empty, windows not empty, windows right with
    /// empty ones.
    pub stats: TensorId,
    /// \[B,E\] u32: predicted class of each element.
    pub predictions: TensorId,
    /// \[B T,K\] logits of every step, where they are kept.
    pub logits: Option<TensorId>,
    /// What the blocks show of their gates.
    pub gates: Vec<ShownGate>,
}

/// What a net is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Forward and backward.
    Train,
    /// Forward only.
    Test,
    /// Forward only, and the logits of every step.
    TestLogits,
}

impl ModelConfig {
    /// Forward and backward over B sequences of T steps and E elements: fills the gradient bank.
    ///
    /// # Errors
    /// [`crate::error::UserError::Shape`] for sizes that a block cannot have.
    pub fn train_net(&self, b: usize, t: usize, e: usize) -> Result<Net> {
        self.net(b, t, e, Purpose::Train)
    }

    /// Forward only.
    ///
    /// # Errors
    /// [`crate::error::UserError::Shape`] for sizes that a block cannot have.
    pub fn eval_net(&self, b: usize, t: usize, e: usize) -> Result<Net> {
        self.net(b, t, e, Purpose::Test)
    }

    /// Forward only, with the logits of every step: B T K numbers, which is much where there are many classes.
    ///
    /// # Errors
    /// [`crate::error::UserError::Shape`] for sizes that a block cannot have.
    pub fn eval_net_with_logits(&self, b: usize, t: usize, e: usize) -> Result<Net> {
        self.net(b, t, e, Purpose::TestLogits)
    }

    fn net(&self, b: usize, t: usize, e: usize, purpose: Purpose) -> Result<Net> {
        self.validate()?;
        let train = purpose == Purpose::Train;
        let mut g = Graph::with_precision(self.precision);
        let InputForm { filled, noise } = self.inputs;
        let symbols = g.input("symbols", &[b, if filled { t } else { e }], Dtype::U32);
        let windows = g.input("windows", &[b, e, 2], Dtype::U32);
        let window_labels = g.input("window_labels", &[b, e], Dtype::U32);
        let spread = |part| Spread { b, t, e, part };
        let labels = g.call(spread(Part::Whole), &[windows, window_labels])?[0];
        let shown = match filled {
            true => symbols,
            false => g.call(spread(Part::First), &[windows, symbols])?[0],
        };
        let (noise, input) = match noise {
            InputNoise::None => (Noise::None, None),
            InputNoise::Drawn(level) => {
                let keys = g.input("samples", &[b, 4], Dtype::U32);
                (Noise::Philox { t, level }, Some(NoiseInput::Keys(keys)))
            }
            InputNoise::Given(level) => (Noise::Given { level }, Some(self.noise_values(&mut g, b * t))),
        };
        let u = self.rows(&mut g, b * t, noise, shown, input)?;
        let stack = self.stack(&mut g, u, b, t)?;
        let (x, gates) = (stack.last, stack.gates);
        let (w, bias) = self.decoder(&mut g);
        let head = HeadLoss {
            b,
            t,
            e,
            d: self.d_model,
            classes: self.classes,
            train,
            scaled: train && self.precision == Precision::Mixed,
        };
        let predictions = g.activation("predictions", &[b, e], Dtype::U32);
        let stats = g.activation("stats", &[4], Dtype::F32);
        g.keep(predictions);
        g.keep(stats);
        let set = |tensor| Output {
            tensor,
            accumulate: false,
        };
        let mut outs = vec![set(predictions), set(stats)];
        if train {
            let grad_x = g.activation("d last", &[b * t, self.d_model], self.precision.activation());
            outs.push(set(grad_x));
            for p in [w, bias] {
                outs.push(Output {
                    tensor: g.param_grad(p),
                    accumulate: true,
                });
            }
            g.provide_grad(x, grad_x);
        }
        let mut ins = vec![x, w, bias, labels, windows, window_labels];
        if head.scaled {
            ins.push(g.bank(Bank::Scale));
        }
        g.call_into(head, &ins, &outs)?;
        if train {
            g.backward(&[], &[])?;
        }
        let logits = match purpose {
            Purpose::TestLogits => Some(self.decode(&mut g, b * t, [x, w, bias])?),
            Purpose::Train | Purpose::Test => None,
        };
        g.round_weights()?;
        Ok(Net {
            graph: g,
            b,
            t,
            e,
            symbols,
            noise: input,
            windows,
            window_labels,
            stats,
            predictions,
            logits,
            gates,
        })
    }

    /// Logits of all rows, kept; `x`, and weight and bias of the decoder.
    fn decode(&self, g: &mut Graph, rows: usize, x_w_bias: [TensorId; 3]) -> Result<TensorId> {
        let decode = Linear {
            rows,
            inp: self.d_model,
            out: self.classes,
            bias: true,
        };
        let logits = g.call(decode, &x_w_bias)?[0];
        g.keep(logits);
        Ok(logits)
    }

    fn noise_values(&self, g: &mut Graph, rows: usize) -> NoiseInput {
        NoiseInput::Values(g.input("noise", &[rows, self.vocab], Dtype::F32))
    }

    /// The rows that a model reads.
    fn rows(
        &self,
        g: &mut Graph,
        rows: usize,
        noise: Noise,
        symbols: TensorId,
        input: Option<NoiseInput>,
    ) -> Result<TensorId> {
        let vocab = self.vocab;
        let input = input.map(|input| match input {
            NoiseInput::Keys(id) | NoiseInput::Values(id) => id,
        });
        let ins: Vec<TensorId> = [symbols].into_iter().chain(input).collect();
        Ok(g.call(OneHot { rows, vocab, noise }, &ins)?[0])
    }
}

/// A model's logits: over whole sequences, or one token at a time.
#[derive(Debug, Clone)]
pub struct LogitsNet {
    /// The calls.
    pub graph: Graph,
    /// \[B,T\] u32: symbol of each step, `NO_SYMBOL` (`u32::MAX`) for a zero row; T = 1 where one token is a run.
    pub symbols: TensorId,
    /// \[B T,V\]: noise in \[0, 1), if there is any.
    pub noise: Option<TensorId>,
    /// \[1\] u32: tokens that came before, where one token is a run.
    pub position: Option<TensorId>,
    /// \[B,T,K\].
    pub logits: TensorId,
}

impl ModelConfig {
    /// Logits of B sequences of T steps.
    ///
    /// # Errors
    /// [`crate::error::UserError::Shape`] for sizes that a block cannot have.
    pub fn logits_net(&self, b: usize, t: usize) -> Result<LogitsNet> {
        self.logits(b, t, None)
    }

    /// Logits of one token of B sequences of at most `most` steps: the graph's states hold what came before. Write the
    /// symbols and their position, from 0 on, and run once a token.
    ///
    /// # Errors
    /// [`crate::error::UserError::Shape`] for sizes that a block cannot have.
    pub fn decode_net(&self, b: usize, most: usize) -> Result<LogitsNet> {
        self.logits(b, 1, Some(most))
    }

    fn logits(&self, b: usize, t: usize, most: Option<usize>) -> Result<LogitsNet> {
        self.validate()?;
        let mut g = Graph::new();
        let symbols = g.input("symbols", &[b, t], Dtype::U32);
        let position = most.map(|_| g.input("position", &[1], Dtype::U32));
        let decoding = position
            .zip(most)
            .map(|(position, most)| Decoding { position, most });
        let (noise, input) = match self.inputs.noise {
            InputNoise::None => (Noise::None, None),
            InputNoise::Drawn(level) | InputNoise::Given(level) => {
                (Noise::Given { level }, Some(self.noise_values(&mut g, b * t)))
            }
        };
        let u = self.rows(&mut g, b * t, noise, symbols, input)?;
        let x = self.stack_at(&mut g, u, b, t, decoding)?.last;
        let (w, bias) = self.decoder(&mut g);
        let logits = self.decode(&mut g, b * t, [x, w, bias])?;
        Ok(LogitsNet {
            graph: g,
            symbols,
            noise: input.map(|input| match input {
                NoiseInput::Keys(id) | NoiseInput::Values(id) => id,
            }),
            position,
            logits,
        })
    }
}

/// Clip and Adam over the banks.
#[derive(Debug, Clone)]
pub struct Update {
    /// The calls.
    pub graph: Graph,
    /// \[4\] f32: gradient norm before clipping, factor, halted, skipped (see `ops::grad_norm`).
    pub stats: TensorId,
}

/// The update of a model whose banks hold `bank_len` elements; in mixed precision its gradients are times the loss scale.
///
/// # Errors
/// [`crate::error::UserError::Shape`] for a length that the ops of the update do not have.
pub fn update_graph(bank_len: usize, precision: Precision) -> Result<Update> {
    let mut g = Graph::new();
    g.set_bank_len(bank_len);
    let stats = append_update(&mut g, precision == Precision::Mixed)?;
    Ok(Update { graph: g, stats })
}

/// Appends clip and Adam over all parameters of a graph, whose gradients may be times the loss scale; returns the
/// statistics of [`Update`].
pub(crate) fn append_update(g: &mut Graph, scaled: bool) -> Result<TensorId> {
    let n = g.bank_len();
    let grads = g.bank(Bank::Grad);
    let stats = g.activation("update", &[4], Dtype::F32);
    g.keep(stats);
    let out = |tensor| Output {
        tensor,
        accumulate: true,
    };
    let mut norms = vec![out(stats)];
    if scaled {
        norms.push(out(g.bank(Bank::Scale)));
    }
    g.call_into(GradNorm { n, scaled }, &[grads], &norms)?;
    let outs = [Bank::Param, Bank::Moment1, Bank::Moment2].map(|b| out(g.bank(b)));
    g.call_into(Adam { n }, &[grads, stats], &outs)?;
    Ok(stats)
}

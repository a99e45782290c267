//! The models: one file per block, and the stack that they share.
//!
//! Formulas, initial values and sizes of every block: [docs/models.md], whose sections the comments of this crate cite.
//! Adding a model: [docs/adding-a-model.md].
//!
//! [docs/models.md]: https://github.com/selectiv/selectiv/blob/main/docs/models.md
//! [docs/adding-a-model.md]: https://github.com/selectiv/selectiv/blob/main/docs/adding-a-model.md

mod context;
mod delta_net;
mod fox;
mod gated_delta_net;
mod gated_delta_product;
mod gates;
mod gla;
mod gru;
mod init;
mod kda;
mod mamba;
mod mamba2;
mod mesa_net;
mod net;
mod parts;
mod recurrence;
mod retnet;
mod s4;
mod switches;
#[cfg(test)]
mod tests;
mod time;
mod transformer;

pub use context::BlockContext;
pub use gates::{Form, Gate, ShownGate};
pub use init::initial_parameters;
pub(crate) use net::append_update;
pub use net::{InputForm, InputNoise, LogitsNet, Net, NoiseInput, Update, update_graph};
pub(crate) use parts::linear;
pub use switches::{DecayKind, Gates, InputGate, Switches};

use crate::error::{Result, UserError};
use crate::graph::{Graph, Init};
use crate::ops::dropout::Dropout;
use crate::ops::layer_norm::LayerNorm;
use crate::tensor::{Precision, TensorId};
use serde::Serialize;
use std::cell::RefCell;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// n of the paper's Gated `DeltaProduct`.
pub const HOUSEHOLDER: usize = 4;
/// How much wider than keys (or the model) the paper's values (or inner channels) are.
pub const EXPAND: usize = 2;
/// Base of the rotary positions of the paper's Transformer.
pub const ROPE_BASE: f32 = 1000.0;

/// What a layer does before its residual and norm.
///
/// Those of this crate are in [`BLOCKS`]; a program may define others and put them into [`ModelConfig::blocks`].
pub trait Block: fmt::Debug + Send + Sync {
    /// The name in task files, flags and results.
    fn name(&self) -> &'static str;

    /// What is special about it, in a line.
    fn describe(&self) -> &'static str;

    /// Its place in the paper's taxonomy.
    fn taxonomy(&self) -> Taxonomy;

    /// The gates of a linear recurrent block, before any switch; `None` if `[model]` has nothing to switch here.
    fn gates(&self) -> Option<Gates> {
        None
    }

    /// Parameters of the projections that make decay, write and read-out gates, in one layer.
    fn gate_params(&self, config: &ModelConfig) -> usize;

    /// Refuses sizes and switches that the block cannot have.
    ///
    /// # Errors
    /// [`UserError::Shape`] with what is allowed.
    fn validate(&self, config: &ModelConfig) -> Result<()>;

    /// Appends the block's calls: input and output are \[B T, d\]. Parameters are named as in the reference
    /// (models.md 3); the stack adds `layers.{i}.`.
    ///
    /// # Errors
    /// Those of the ops for sizes that `validate` let through.
    fn build(&self, g: &mut Graph, x: TensorId, c: &BlockContext<'_>) -> Result<TensorId>;
}

/// A block, of this crate or another.
pub type BlockRef = &'static dyn Block;

impl PartialEq for dyn Block {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

/// The list of models, in the order of the paper: one line a model.
pub const BLOCKS: &[BlockRef] = &[
    &transformer::Transformer,
    &mamba::Mamba,
    &mamba2::Mamba2,
    &delta_net::BLOCK,
    &gla::BLOCK,
    &gated_delta_net::BLOCK,
    &gated_delta_product::BLOCK,
    &kda::BLOCK,
    &retnet::BLOCK,
    &mesa_net::MesaNet,
    &s4::S4,
    &gru::Gru,
    &fox::Fox,
];

/// The block of that name.
///
/// # Errors
/// [`UserError::Unknown`] with the names there are.
pub fn block(name: &str) -> Result<BlockRef> {
    BLOCKS.iter().copied().find(|b| b.name() == name).ok_or_else(|| {
        UserError::Unknown {
            what: "model",
            name: name.to_owned(),
            allowed: BLOCKS.iter().map(|b| b.name()).collect::<Vec<_>>().join(", "),
        }
        .into()
    })
}

/// How a block sits in the paper's taxonomy of `S_t` = `A_t` S_{t-1} + `B_t` `x_t`, `y_t` = `C_t` `S_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Taxonomy {
    /// `A_t`.
    pub transition: &'static str,
    /// Granularity of the decay and whether it depends on the data.
    pub decay: &'static str,
    /// What scales the input.
    pub write_gate: &'static str,
    /// Whether what is kept less is written more.
    pub complementary: &'static str,
    /// How the state is read.
    pub readout: &'static str,
    /// What multiplies the output.
    pub output_gate: &'static str,
    /// Whether channels of the state mix.
    pub channel_mixing: &'static str,
    /// What [`Block::gate_params`] counts without switches, as a formula; R = d / 16, rounded up.
    pub gate_params: &'static str,
    /// Gate parameters of a layer in the paper's own way of counting.
    pub paper_gate_params: &'static str,
}

/// The sizes that all blocks of a model share, and the switches of their gates: `[model]` without the layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// d, width of the residual stream.
    pub d_model: usize,
    /// H.
    pub heads: usize,
    /// n, Householder factors, and so writes, a token of the Gated `DeltaProduct`: 1 to 8.
    pub householder: usize,
    /// C, steps that a chunkwise kernel takes at once: 16, 32 or 64. It never changes the result beyond rounding.
    pub chunk: usize,
    /// N, states of a channel (Mamba, S4D) or of a head (Mamba2), 1 to 256; as published unless told: 64, Mamba2 128.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub d_state: Option<usize>,
    /// Values (or inner channels) are this many times as wide as keys (or the model): 1 to 8.
    pub expand: usize,
    /// Changes to the gates of the linear recurrent blocks.
    #[serde(flatten)]
    pub switches: Switches,
}

impl Sizes {
    /// Everything as in the paper at this width.
    pub fn new(d_model: usize) -> Self {
        Self {
            d_model,
            // Widths that have none are refused when the model is validated.
            heads: head_count(d_model).unwrap_or(4),
            householder: HOUSEHOLDER,
            chunk: 64,
            d_state: None,
            expand: EXPAND,
            switches: Switches::default(),
        }
    }
}

/// A model: its sizes, which are read as if they were its own fields, and which block each of its layers is.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// One block a layer.
    pub blocks: Vec<BlockRef>,
    /// What the blocks share.
    pub sizes: Sizes,
    /// V, width of the input.
    pub vocab: usize,
    /// K, width of the output.
    pub classes: usize,
    /// How input rows are made.
    pub inputs: InputForm,
    /// Base of the Transformer's rotary positions; `RetNet` has its own.
    pub rope_base: f32,
    /// Dropout after every block.
    pub dropout: f32,
    /// How activations are stored in training and evaluation.
    pub precision: Precision,
}

impl Deref for ModelConfig {
    type Target = Sizes;

    fn deref(&self) -> &Sizes {
        &self.sizes
    }
}

impl DerefMut for ModelConfig {
    fn deref_mut(&mut self) -> &mut Sizes {
        &mut self.sizes
    }
}

/// The reference's number of heads for a width (models.md 2): 4 up to 512, above that the smallest of
/// 4, 8, 16, ... that divides the width into heads of at most 128. `None` if there is no such number.
pub fn head_count(d_model: usize) -> Option<usize> {
    let enough = |heads: usize| d_model <= 512 || d_model / heads <= 128;
    (2..usize::BITS)
        .map(|power| 1_usize << power)
        .take_while(|&heads| heads <= d_model)
        .find(|&heads| d_model.is_multiple_of(heads) && enough(heads))
}

impl ModelConfig {
    /// A stack of `layers` times one block, everything else as in the paper.
    pub fn new(block: BlockRef, layers: usize, d_model: usize, vocab: usize, classes: usize) -> Self {
        Self {
            blocks: vec![block; layers],
            sizes: Sizes::new(d_model),
            vocab,
            classes,
            inputs: InputForm::default(),
            rope_base: ROPE_BASE,
            dropout: 0.2,
            precision: Precision::F32,
        }
    }

    /// The name of the stack in results: its blocks in the order in which they first appear, joined by `+`.
    pub fn name(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        for block in &self.blocks {
            if !names.contains(&block.name()) {
                names.push(block.name());
            }
        }
        names.join("+")
    }

    /// Refuses sizes that the stack or one of its blocks cannot have.
    ///
    /// # Errors
    /// [`UserError::Shape`] with what is allowed.
    pub fn validate(&self) -> Result<()> {
        if self.heads == 0 || !self.d_model.is_multiple_of(self.heads) {
            let reason = format!(
                "d_model {} is not divisible into {} heads",
                self.d_model, self.heads
            );
            return Err(UserError::Shape { op: "model", reason }.into());
        }
        self.validate_switches()?;
        self.blocks.iter().try_for_each(|b| b.validate(self))
    }

    /// Width of a key head.
    pub fn head_dim(&self) -> usize {
        self.d_model / self.heads
    }

    /// Trainable values.
    ///
    /// # Errors
    /// [`UserError::Shape`] for sizes that a block cannot have.
    pub fn param_count(&self) -> Result<usize> {
        Ok(self.eval_net(1, 1, 1)?.graph.param_count())
    }

    /// Layers on top of input rows u \[B T, V\]: the output of the last one, and what each block and layer gave.
    pub(crate) fn stack(&self, g: &mut Graph, u: TensorId, b: usize, t: usize) -> Result<Stack> {
        self.stack_at(g, u, b, t, None)
    }

    fn stack_at(
        &self,
        g: &mut Graph,
        u: TensorId,
        b: usize,
        t: usize,
        decoding: Option<context::Decoding>,
    ) -> Result<Stack> {
        let (rows, d) = (b * t, self.d_model);
        let mut x = g.scoped("encoder", |g| linear(g, u, rows, self.vocab, d, true))?;
        let encoder = x;
        let mut layers = Vec::new();
        let shown = RefCell::new(Vec::new());
        for (layer, block) in self.blocks.iter().enumerate() {
            let context = BlockContext {
                config: self,
                block: *block,
                b,
                t,
                layer,
                decoding,
                shown: &shown,
            };
            let z = g.scoped(&format!("layers.{layer}"), |g| block.build(g, x, &context))?;
            let mixed = g.scoped(&format!("norms.{layer}"), |g| {
                let dropout = Dropout {
                    rows,
                    d,
                    p: self.dropout,
                    tag: 2 * layer as u32,
                };
                let weight = g.param("weight", &[d], Init::Constant(1.0));
                let bias = g.param("bias", &[d], Init::Constant(0.0));
                let norm = LayerNorm {
                    rows,
                    d,
                    eps: 1e-5,
                    sum: Some(dropout),
                };
                Ok::<_, crate::error::Error>(g.call(norm, &[x, z, weight, bias])?[0])
            })?;
            layers.push((z, mixed));
            x = mixed;
        }
        Ok(Stack {
            encoder,
            layers,
            gates: shown.into_inner(),
            last: x,
        })
    }

    /// Weight and bias of the decoder.
    pub(crate) fn decoder(&self, g: &mut Graph) -> (TensorId, TensorId) {
        let r = (self.d_model as f64).powf(-0.5);
        g.scoped("decoder", |g| {
            let w = g.weight("weight", &[self.classes, self.d_model], Init::Uniform(r));
            (w, g.param("bias", &[self.classes], Init::Uniform(r)))
        })
    }
}

/// Tensors of a stack.
pub(crate) struct Stack {
    pub(crate) encoder: TensorId,
    /// Output of each layer's block, and of the layer.
    pub(crate) layers: Vec<(TensorId, TensorId)>,
    /// What the blocks show of their gates.
    pub(crate) gates: Vec<ShownGate>,
    pub(crate) last: TensorId,
}

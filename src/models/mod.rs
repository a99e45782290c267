//! The models: one file per block, and the stack that they share.
//!
//! Adding a model: `docs/adding-a-model.md`.

mod additive;
mod delta;
mod delta_net;
mod fox;
mod gated_delta_net;
mod gated_delta_product;
mod gla;
mod init;
mod mamba;
mod mamba2;
mod net;
mod retnet;
#[cfg(test)]
mod tests;
mod transformer;

pub use init::initial_parameters;
pub(crate) use net::append_update;
pub use net::{Net, Update, update_graph};

use crate::error::{Result, UserError};
use crate::graph::{Graph, Init};
use crate::ops::dropout::Dropout;
use crate::ops::layer_norm::LayerNorm;
use crate::ops::linear::Linear;
use crate::ops::short_conv::ShortConv;
use crate::tensor::TensorId;

/// n of the paper's Gated `DeltaProduct`.
pub const HOUSEHOLDER: usize = 4;
/// N of the paper's Mamba2.
pub const D_STATE: usize = 128;

/// Sizes of a model, and which block each of its layers is.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// One block a layer.
    pub blocks: Vec<BlockKind>,
    /// d.
    pub d_model: usize,
    /// H.
    pub heads: usize,
    /// V, width of the input.
    pub vocab: usize,
    /// K, width of the output.
    pub classes: usize,
    /// n, steps a token of the Gated `DeltaProduct`.
    pub householder: usize,
    /// C, chunk of the chunkwise recurrences.
    pub chunk: usize,
    /// N, rows of the state of the state-space models.
    pub d_state: usize,
    /// Dropout after every block.
    pub dropout: f32,
}

/// What a block's builder is told.
pub(crate) struct BlockContext<'a> {
    pub(crate) config: &'a ModelConfig,
    pub(crate) b: usize,
    pub(crate) t: usize,
    /// Layer, which also tells its dropout masks from those of others.
    pub(crate) layer: usize,
}

/// The list of models: one line a model.
macro_rules! blocks {
    ($($variant:ident = $module:ident, $doc:literal;)*) => {
        /// A block: what a layer does before its residual and norm.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum BlockKind {
            $(#[doc = $doc] $variant,)*
        }

        impl BlockKind {
            /// Every block, in the order of the paper.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name in task files, flags and results.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($module),)* }
            }

            /// What is special about it, in a line.
            pub fn describe(self) -> &'static str {
                match self { $(Self::$variant => $doc,)* }
            }

            /// Its place in the paper's taxonomy.
            pub fn taxonomy(self) -> Taxonomy {
                match self { $(Self::$variant => $module::TAXONOMY,)* }
            }

            /// Parameters of the projections that make decay, write and read-out gates, in one layer of the paper's
            /// form of the block.
            pub fn gate_params(self, d_model: usize, heads: usize) -> usize {
                match self { $(Self::$variant => $module::gate_params(d_model, heads),)* }
            }

            /// Refuses sizes that the block cannot have.
            pub fn validate(self, config: &ModelConfig) -> Result<()> {
                match self { $(Self::$variant => $module::validate(config),)* }
            }

            fn build(self, g: &mut Graph, x: TensorId, c: &BlockContext<'_>) -> Result<TensorId> {
                match self { $(Self::$variant => $module::build(g, x, c),)* }
            }
        }
    };
}

blocks! {
    Transformer = transformer, "causal softmax attention with rotary positions and a gated feed-forward";
    Mamba = mamba, "selective scan: step, input and read-out of a diagonal recurrence come from the data";
    Mamba2 = mamba2, "additive memory with a step size a head that forgets and writes, one read and write vector";
    DeltaNet = delta_net, "delta rule with a write strength a head";
    Gla = gla, "additive memory with a decay a key channel";
    GatedDeltaNet = gated_delta_net, "delta rule with a scalar decay and a write strength a head";
    GatedDeltaProduct = gated_delta_product, "gated delta rule with several reflecting steps a token";
    Fox = fox, "causal softmax attention whose scores fall by a log decay a head and token";
    RetNet = retnet, "additive memory with a fixed decay a head and rotary positions";
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
}

impl BlockKind {
    /// The block of that name.
    pub fn from_name(name: &str) -> Result<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|b| b.name() == name)
            .ok_or_else(|| {
                let allowed = Self::ALL.iter().map(|b| b.name()).collect::<Vec<_>>().join(", ");
                UserError::Unknown {
                    what: "model",
                    name: name.to_owned(),
                    allowed,
                }
                .into()
            })
    }
}

/// H from the width (models.md section 2): 4 up to width 512, else the smallest of 4, 8, 16, .. that divides the
/// width into heads of at most 128.
pub fn default_heads(d_model: usize) -> usize {
    if d_model <= 512 {
        return 4;
    }
    let fits = |h: &usize| d_model.is_multiple_of(*h) && d_model / h <= 128;
    std::iter::successors(Some(4), |h| Some(2 * h))
        .take_while(|h| *h <= d_model)
        .find(fits)
        .unwrap_or(4)
}

impl ModelConfig {
    /// Refuses sizes that the stack or one of its blocks cannot have.
    pub fn validate(&self) -> Result<()> {
        if self.heads == 0 || !self.d_model.is_multiple_of(self.heads) {
            let reason = format!(
                "d_model {} is not divisible into {} heads",
                self.d_model, self.heads
            );
            return Err(UserError::Shape { op: "model", reason }.into());
        }
        self.blocks.iter().try_for_each(|b| b.validate(self))
    }

    /// Width of a key head.
    pub fn head_dim(&self) -> usize {
        self.d_model / self.heads
    }

    /// Trainable values.
    pub fn param_count(&self) -> Result<usize> {
        Ok(self.net(1, 1, 1, false)?.graph.param_count())
    }

    /// Layers on top of input rows u \[B T, V\]: the output of the last one, and what each block and layer gave.
    pub(crate) fn stack(&self, g: &mut Graph, u: TensorId, b: usize, t: usize) -> Result<Stack> {
        let (rows, d) = (b * t, self.d_model);
        let mut x = g.scoped("encoder", |g| linear(g, u, rows, self.vocab, d, true))?;
        let encoder = x;
        let mut layers = Vec::new();
        for (layer, block) in self.blocks.iter().enumerate() {
            let context = BlockContext {
                config: self,
                b,
                t,
                layer,
            };
            let z = g.scoped(&format!("layers.{layer}"), |g| block.build(g, x, &context))?;
            let mixed = g.scoped(&format!("norms.{layer}"), |g| {
                let dropout = Dropout {
                    rows,
                    d,
                    p: self.dropout,
                    tag: 2 * layer as u32,
                };
                let sum = g.call(dropout, &[x, z])?[0];
                let weight = g.param("weight", &[d], Init::Constant(1.0));
                let bias = g.param("bias", &[d], Init::Constant(0.0));
                Ok::<_, crate::error::Error>(
                    g.call(LayerNorm { rows, d, eps: 1e-5 }, &[sum, weight, bias])?[0],
                )
            })?;
            layers.push((z, mixed));
            x = mixed;
        }
        Ok(Stack {
            encoder,
            layers,
            last: x,
        })
    }

    /// Weight and bias of the decoder.
    pub(crate) fn decoder(&self, g: &mut Graph) -> (TensorId, TensorId) {
        let r = (self.d_model as f64).powf(-0.5);
        g.scoped("decoder", |g| {
            let w = g.param("weight", &[self.classes, self.d_model], Init::Uniform(r));
            (w, g.param("bias", &[self.classes], Init::Uniform(r)))
        })
    }
}

/// Tensors of a stack.
pub(crate) struct Stack {
    pub(crate) encoder: TensorId,
    /// Output of each layer's block, and of the layer.
    pub(crate) layers: Vec<(TensorId, TensorId)>,
    pub(crate) last: TensorId,
}

/// y = x W^T (+ b) with parameters `weight` (and `bias`) of the current scope, both U(+-in^-1/2).
pub(crate) fn linear(
    g: &mut Graph,
    x: TensorId,
    rows: usize,
    inp: usize,
    out: usize,
    bias: bool,
) -> Result<TensorId> {
    let r = (inp as f64).powf(-0.5);
    let mut ins = vec![x, g.param("weight", &[out, inp], Init::Uniform(r))];
    if bias {
        ins.push(g.param("bias", &[out], Init::Uniform(r)));
    }
    Ok(g.call(Linear { rows, inp, out, bias }, &ins)?[0])
}

/// A projection to `out` channels, a causal convolution over four tokens and silu.
pub(crate) fn conved(
    g: &mut Graph,
    x: TensorId,
    c: &BlockContext<'_>,
    name: char,
    out: usize,
) -> Result<TensorId> {
    let (b, t, d) = (c.b, c.t, c.config.d_model);
    let y = g.scoped(&format!("{name}_proj"), |g| linear(g, x, b * t, d, out, false))?;
    let w = g.param(&format!("{name}_conv1d.weight"), &[out, 1, 4], Init::Uniform(0.5));
    let conv = ShortConv {
        b,
        t,
        channels: out,
        bias: false,
    };
    Ok(g.call(conv, &[y, w])?[0])
}

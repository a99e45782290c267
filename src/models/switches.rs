//! The gates of a linear recurrent block, and the switches that take them apart: the paper's taxonomy as configuration.

use super::{Block, ModelConfig};
use crate::error::{Error, Result, UserError};
use serde::{Deserialize, Serialize, Serializer};

/// What the state forgets by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecayKind {
    /// It does not.
    None,
    /// 1 - 2^(-5-h) in head h, neither learned nor from the data (`RetNet`).
    Fixed,
    /// A factor a head and token.
    Head,
    /// A factor a head, key channel and token.
    Channel,
    /// A factor a channel, state and token (Mamba).
    State,
}

/// What scales that which a token writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputGate {
    /// Nothing.
    None,
    /// A gate of its own.
    Free,
    /// The decay: what is kept less is written more.
    Complementary,
}

/// The gates of a linear recurrent block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gates {
    /// Granularity of the decay.
    pub decay: DecayKind,
    /// Whether the decay depends on the data; without it the same gate learns a constant.
    pub data_dependent_decay: bool,
    /// The input gate.
    pub input_gate: InputGate,
    /// Whether the output is gated.
    pub readout_gate: bool,
    /// Whether channels of the state mix: the delta rule.
    pub channel_mixing: bool,
    /// Whether a short convolution comes before the recurrence.
    pub conv: bool,
}

/// What `[model]` says of the gates. `None`: as the block has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Switches {
    /// See [`Gates::decay`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay: Option<DecayKind>,
    /// See [`Gates::data_dependent_decay`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dependent_decay: Option<bool>,
    /// See [`Gates::input_gate`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_gate: Option<InputGate>,
    /// See [`Gates::readout_gate`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readout_gate: Option<bool>,
    /// See [`Gates::channel_mixing`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel_mixing: Option<bool>,
    /// See [`Gates::conv`]; `[model]` has the width of the filter instead: 4, or 0 for none.
    #[serde(serialize_with = "write_taps")]
    pub conv: Option<bool>,
}

fn write_taps<S: Serializer>(conv: &Option<bool>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_u8(if conv.unwrap_or(true) { 4 } else { 0 })
}

impl Switches {
    /// Whether anything is switched.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl DecayKind {
    fn is_gate(self) -> bool {
        !matches!(self, Self::None | Self::Fixed)
    }
}

impl Gates {
    /// Whether decays of heads and write strengths both are projections of the block's input.
    pub(super) fn heads_from_input(&self) -> bool {
        self.decay == DecayKind::Head && self.data_dependent_decay && self.input_gate == InputGate::Free
    }

    /// These gates, switched. A decay that is switched on depends on the data unless told otherwise.
    pub(super) fn switched(self, switches: &Switches) -> Self {
        let decay = switches.decay.unwrap_or(self.decay);
        let from_data = decay.is_gate() && (self.data_dependent_decay || !self.decay.is_gate());
        Self {
            decay,
            data_dependent_decay: switches.data_dependent_decay.unwrap_or(from_data),
            input_gate: switches.input_gate.unwrap_or(self.input_gate),
            readout_gate: switches.readout_gate.unwrap_or(self.readout_gate),
            channel_mixing: switches.channel_mixing.unwrap_or(self.channel_mixing),
            conv: switches.conv.unwrap_or(self.conv),
        }
    }
}

impl ModelConfig {
    /// The gates of a linear recurrent block after the switches; `None` for other blocks.
    pub fn gates(&self, block: &dyn Block) -> Option<Gates> {
        block.gates().map(|own| own.switched(&self.switches))
    }

    /// Refuses switches that mean nothing for any block here, or contradict each other.
    pub(super) fn validate_switches(&self) -> Result<()> {
        if self.switches.is_default() {
            return Ok(());
        }
        if !self.blocks.iter().any(|b| b.gates().is_some()) {
            let reason = "has no gates of a linear recurrence to switch: leave model.decay, data_dependent_decay, \
                          input_gate, readout_gate, channel_mixing and conv out";
            return Err(refused(self.blocks.first().map_or("model", |b| b.name()), reason));
        }
        for block in &self.blocks {
            let Some(gates) = self.gates(*block) else { continue };
            if gates.data_dependent_decay && !gates.decay.is_gate() {
                let reason =
                    "model.data_dependent_decay = true needs a model.decay other than \"none\" or \"fixed\"";
                return Err(refused(block.name(), reason));
            }
            if gates.input_gate == InputGate::Complementary && gates.decay == DecayKind::None {
                let reason = "a complementary input gate writes what the decay takes away, and model.decay is \"none\": \
                              give model.input_gate = \"free\" or \"none\"";
                return Err(refused(block.name(), reason));
            }
        }
        Ok(())
    }
}

/// A combination that a block does not have.
pub(super) fn refused(block: &'static str, reason: &str) -> Error {
    UserError::Shape {
        op: block,
        reason: reason.to_owned(),
    }
    .into()
}

//! Gated linear attention (models.md 3.5): an additive memory that forgets by key channel.

use super::recurrence::{ChannelGate, Readout, Recurrence};
use super::{DecayKind, Gates, InputGate, Taxonomy};

/// See the module docs.
pub(super) const BLOCK: Recurrence = Recurrence {
    name: "gla",
    describe: "additive memory with a decay a key channel",
    taxonomy: Taxonomy {
        transition: "diag(alpha)",
        decay: "key channel, low-rank gate",
        write_gate: "none",
        complementary: "no",
        readout: "q",
        output_gate: "swish, after the norm",
        channel_mixing: "no",
        gate_params: "2 d^2 + 33 d",
        paper_gate_params: "about 16 d",
    },
    gates: Gates {
        decay: DecayKind::Channel,
        data_dependent_decay: true,
        input_gate: InputGate::None,
        readout_gate: true,
        channel_mixing: false,
        conv: true,
    },
    unit_keys: false,
    rotary: false,
    several_writes: false,
    strongest: 1.0,
    channel_gate: ChannelGate::LogSigmoid,
    readout: Readout::Silu,
    norm: ["g_norm_swish_gate.weight", "g_norm.weight"],
};

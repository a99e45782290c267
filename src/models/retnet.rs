//! `RetNet` (models.md 3.8): an additive memory that forgets at a fixed rate a head, with rotary positions.

use super::recurrence::{ChannelGate, Readout, Recurrence};
use super::{DecayKind, Gates, InputGate, Taxonomy};

/// See the module docs.
pub(super) const BLOCK: Recurrence = Recurrence {
    name: "retnet",
    describe: "additive memory with a fixed decay a head and rotary positions",
    taxonomy: Taxonomy {
        transition: "gamma, fixed",
        decay: "head, not data-dependent",
        write_gate: "none",
        complementary: "no",
        readout: "q",
        output_gate: "swish, after the norm",
        channel_mixing: "no",
        gate_params: "2 d^2",
        paper_gate_params: "-",
    },
    gates: Gates {
        decay: DecayKind::Fixed,
        data_dependent_decay: false,
        input_gate: InputGate::None,
        readout_gate: true,
        channel_mixing: false,
        conv: true,
    },
    unit_keys: false,
    rotary: true,
    several_writes: false,
    strongest: 1.0,
    channel_gate: ChannelGate::LogSigmoid,
    readout: Readout::Silu,
    norm: ["g_norm_swish_gate.weight", "g_norm.weight"],
};

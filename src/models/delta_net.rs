//! `DeltaNet` (models.md 3.4): the delta rule with a write strength a head and token, without decay or output gate.

use super::recurrence::{ChannelGate, Readout, Recurrence};
use super::{DecayKind, Gates, InputGate, Taxonomy};

/// See the module docs.
pub(super) const BLOCK: Recurrence = Recurrence {
    name: "delta_net",
    describe: "delta rule with a write strength a head",
    taxonomy: Taxonomy {
        transition: "I - beta k k^T",
        decay: "none",
        write_gate: "beta in (0,1), a head",
        complementary: "no",
        readout: "q",
        output_gate: "no",
        channel_mixing: "yes, rank 1",
        gate_params: "d H",
        paper_gate_params: "d H + d^2",
    },
    gates: Gates {
        decay: DecayKind::None,
        data_dependent_decay: false,
        input_gate: InputGate::Free,
        readout_gate: false,
        channel_mixing: true,
        conv: true,
    },
    unit_keys: true,
    rotary: false,
    several_writes: false,
    strongest: 1.0,
    channel_gate: ChannelGate::LogSigmoid,
    readout: Readout::Silu,
    norm: ["o_norm.weight", "o_norm.weight"],
};

//! Gated `DeltaNet` (models.md 3.6): the delta rule with one decay and one write strength a head and token.

use super::recurrence::{ChannelGate, Readout, Recurrence};
use super::{DecayKind, Gates, InputGate, Taxonomy};

/// See the module docs.
pub(super) const BLOCK: Recurrence = Recurrence {
    name: "gated_delta_net",
    describe: "delta rule with a scalar decay and a write strength a head",
    taxonomy: Taxonomy {
        transition: "alpha (I - beta k k^T)",
        decay: "head, data-dependent",
        write_gate: "beta in (0,1), a head",
        complementary: "no (alpha and beta are free)",
        readout: "q",
        output_gate: "swish, after the norm",
        channel_mixing: "yes, rank 1",
        gate_params: "2 d^2 + 2 d H + 2 H",
        paper_gate_params: "2 d_gate^2 (uncertain)",
    },
    gates: Gates {
        decay: DecayKind::Head,
        data_dependent_decay: true,
        input_gate: InputGate::Free,
        readout_gate: true,
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

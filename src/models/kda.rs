//! Kimi Delta Attention: the gated delta rule with a decay a key channel (models.md 8).

use super::recurrence::{ChannelGate, Readout, Recurrence};
use super::{DecayKind, Gates, InputGate, Taxonomy};

/// See the module docs.
pub(super) const BLOCK: Recurrence = Recurrence {
    name: "kda",
    describe: "delta rule with a decay a key channel and a write strength a head",
    taxonomy: Taxonomy {
        transition: "(I - beta k k^T) diag(alpha)",
        decay: "key channel, low-rank gate",
        write_gate: "beta in (0,1), a head",
        complementary: "no (alpha and beta are free)",
        readout: "q",
        output_gate: "sigmoid, after the norm",
        channel_mixing: "yes, rank 1",
        gate_params: "10 d^2/H + d H + 3 d + H",
        paper_gate_params: "not in the paper",
    },
    gates: Gates {
        decay: DecayKind::Channel,
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
    channel_gate: ChannelGate::Softplus,
    readout: Readout::LowRankSigmoid,
    norm: ["o_norm.weight", "o_norm.weight"],
};

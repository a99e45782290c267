//! Gated `DeltaProduct` (models.md 3.7): n Householder factors a token, each of which may reflect, after one decay.

use super::recurrence::{ChannelGate, Readout, Recurrence};
use super::{DecayKind, Gates, InputGate, Taxonomy};

/// See the module docs.
pub(super) const BLOCK: Recurrence = Recurrence {
    name: "gated_delta_product",
    describe: "gated delta rule with several reflecting steps a token",
    taxonomy: Taxonomy {
        transition: "alpha prod_j (I - beta_j k_j k_j^T)",
        decay: "head, data-dependent",
        write_gate: "beta_j in (0,2), a head",
        complementary: "no (alpha and beta are free)",
        readout: "q",
        output_gate: "swish, after the norm",
        channel_mixing: "yes, rank n",
        gate_params: "2 d^2 + (n + 1) d H + 2 H",
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
    several_writes: true,
    strongest: 2.0,
    channel_gate: ChannelGate::LogSigmoid,
    readout: Readout::Silu,
    norm: ["o_norm.weight", "o_norm.weight"],
};

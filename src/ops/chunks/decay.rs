//! What the state of a recurrence keeps from one token to the next.

use crate::port::Port;

/// What the state keeps from one token to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decay {
    /// Everything.
    None,
    /// `1 - 2^(-5-h)` in head h (`RetNet`).
    Constant,
    /// A factor a head and token: input g.
    Scalar,
    /// A factor a head, token and key channel: input gk.
    Channel,
}

impl Decay {
    /// Log decays that a token and head has as an input, for keys of width `d_k`.
    pub(crate) fn width(self, d_k: usize) -> usize {
        match self {
            Self::None | Self::Constant => 0,
            Self::Scalar => 1,
            Self::Channel => d_k,
        }
    }

    /// The input of log decays, for `rows` of heads (\[B,T,H\]), if there is one.
    pub(crate) fn port(self, rows: &[usize], d_k: usize) -> Option<Port> {
        match self {
            Self::None | Self::Constant => None,
            Self::Scalar => Some(Port::f32("g", rows)),
            Self::Channel => Some(Port::f32("gk", &[rows, &[d_k]].concat())),
        }
    }

    /// Its number in the kernels.
    #[cfg(feature = "gpu")]
    pub(crate) fn number(self) -> usize {
        match self {
            Self::None => 0,
            Self::Constant => 1,
            Self::Scalar => 2,
            Self::Channel => 3,
        }
    }
}

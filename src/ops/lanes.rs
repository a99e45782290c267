//! What scans over diagonal states share: how channels and their states are spread over threads.

use crate::shader::Kernel;

/// Channels and states on a workgroup, as `shaders/lib/lanes.wgsl` has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lanes {
    /// Threads of a channel, a power of two.
    pub lanes: usize,
    /// Quads of states of a thread.
    pub per: usize,
}

impl Lanes {
    const THREADS: usize = 128;

    /// As few threads a channel as hold its states with at most `quads` quads each.
    pub(crate) fn new(states: usize, quads: usize) -> Self {
        let all = states.div_ceil(4);
        let lanes = all.div_ceil(quads).next_power_of_two();
        Self {
            lanes,
            per: all.div_ceil(lanes),
        }
    }

    /// States of a channel, padding included.
    pub(crate) fn padded(self) -> usize {
        4 * self.lanes * self.per
    }

    /// Channels of a workgroup.
    pub(crate) fn channels(self) -> usize {
        Self::THREADS / self.lanes
    }

    /// A kernel on these threads that stages `staged` steps at a time.
    pub(crate) fn kernel(self, path: &'static str, staged: usize) -> Kernel {
        Kernel::new(path)
            .set("THREADS", Self::THREADS)
            .set("LANES", self.lanes)
            .set("PER", self.per)
            .set("STAGED", staged)
    }
}

/// Distance of the sums of `lanes` threads in workgroup memory: one more, so that reading them meets different banks.
pub(crate) fn pitch(lanes: usize) -> usize {
    if lanes == 1 { 1 } else { lanes + 1 }
}

//! Nets for batches of different lengths: one for the longest, which decides what fits, and others beside it in the same
//! memory, made when a batch of their length first comes.

use crate::error::Result;
use crate::models::Net;
use crate::runtime::{Program, Runtime};
use std::collections::BTreeMap;

/// Lengths are rounded up to multiples of this, the largest chunk of the chunkwise kernels: the fewer there are, the more
/// steps are padding.
const GRAIN: usize = 64;

/// Builds a net for a number of steps.
type Build = Box<dyn Fn(usize) -> Result<Net>>;

/// See the module docs.
pub(super) struct Lengths {
    build: Build,
    longest: usize,
    nets: BTreeMap<usize, (Net, Program)>,
}

impl Lengths {
    /// With the net of the longest batches, which is loaded; `build` makes those of others.
    pub(super) fn new(net: Net, program: Program, build: impl Fn(usize) -> Result<Net> + 'static) -> Self {
        Self {
            build: Box::new(build),
            longest: net.t,
            nets: BTreeMap::from([(net.t, (net, program))]),
        }
    }

    /// The net of the longest batches.
    pub(super) fn longest(&self) -> (&Net, Program) {
        let (net, program) = &self.nets[&self.longest];
        (net, *program)
    }

    /// Bytes that the nets take besides the parameters.
    pub(super) fn bytes(&self, runtime: &dyn Runtime) -> usize {
        self.nets
            .values()
            .map(|(_, program)| runtime.program_bytes(*program))
            .sum()
    }

    /// Steps that are computed for a batch whose longest sample has so many: they depend on the batch alone.
    pub(super) fn computed(&self, steps: usize) -> usize {
        steps.next_multiple_of(GRAIN).min(self.longest)
    }

    /// The net of a batch whose longest sample has so many steps.
    ///
    /// # Errors
    /// The device's.
    ///
    /// # Panics
    /// If that is more than the longest has.
    pub(super) fn of(&mut self, runtime: &mut dyn Runtime, steps: usize) -> Result<(&Net, Program)> {
        assert!(
            steps <= self.longest,
            "{steps} steps where {} were planned",
            self.longest
        );
        let t = self.computed(steps);
        if !self.nets.contains_key(&t) {
            let net = (self.build)(t)?;
            let program = runtime.load_beside(&net.graph, self.longest().1)?;
            self.nets.insert(t, (net, program));
        }
        let (net, program) = &self.nets[&t];
        Ok((net, *program))
    }
}

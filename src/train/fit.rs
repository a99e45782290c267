//! How many samples a device takes at a time: one search, for training, tests, decoding and looking at gates.

use crate::error::{Error, OutOfMemory, Result, Room};
use crate::graph::Graph;
use crate::models::{LogitsNet, Net};
use crate::runtime::{Program, Runtime};

/// A size and its halves, down to 1.
pub(super) fn halved(most: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(most), |size| (*size > 1).then_some(size / 2))
}

/// Something whose graphs are loaded together.
pub(super) trait Graphs {
    /// The graphs.
    fn graphs(&self) -> Vec<&Graph>;
}

impl Graphs for Net {
    fn graphs(&self) -> Vec<&Graph> {
        vec![&self.graph]
    }
}

/// Whole sequences, and token by token.
impl Graphs for (LogitsNet, LogitsNet) {
    fn graphs(&self) -> Vec<&Graph> {
        vec![&self.0.graph, &self.1.graph]
    }
}

/// The largest size that fits.
pub(super) struct Fit<N> {
    /// Samples at a time.
    pub(super) size: usize,
    /// What was built for them.
    pub(super) net: N,
    /// The program of each of its graphs.
    pub(super) programs: Vec<Program>,
}

/// Builds and loads for the first of `sizes`, largest first, that the runtime has room for. Sizes beyond a cap of the
/// runtime's choice are taken only where there is no smaller one. `refused` hears of each size that does not fit.
///
/// # Errors
/// The last refusal if nothing fits; whatever else goes wrong.
pub(super) fn largest<N: Graphs>(
    runtime: &mut dyn Runtime,
    sizes: impl IntoIterator<Item = usize>,
    mut build: impl FnMut(usize) -> Result<N>,
    mut refused: impl FnMut(usize, &Error),
) -> Result<Fit<N>> {
    let mut sizes = sizes.into_iter().peekable();
    let mut last = None;
    while let Some(size) = sizes.next() {
        let smaller = sizes.peek().is_some();
        match build(size).and_then(|net| Ok((load(runtime, &net.graphs(), smaller)?, net))) {
            Ok((programs, net)) => return Ok(Fit { size, net, programs }),
            Err(e) if e.is_too_large() => {
                refused(size, &e);
                last = Some(e);
            }
            Err(e) => return Err(e),
        }
    }
    Err(last.expect("there is at least one size"))
}

fn load(runtime: &mut dyn Runtime, graphs: &[&Graph], smaller: bool) -> Result<Vec<Program>> {
    let capped = smaller && runtime.enough_bytes().is_some();
    // Planning takes its time, and a graph that is alone is refused by the plan that it is loaded with.
    if capped || graphs.len() > 1 {
        let bytes = graphs
            .iter()
            .map(|graph| runtime.fits(graph))
            .sum::<std::result::Result<u64, OutOfMemory>>()?;
        if capped {
            keep_to_cap(runtime, bytes)?;
        }
    }
    graphs.iter().map(|graph| runtime.load(graph)).collect()
}

/// Refuses a program of so many bytes if a smaller one would be as fast.
///
/// # Errors
/// [`OutOfMemory`] that names the cap.
pub(crate) fn keep_to_cap(runtime: &dyn Runtime, bytes: u64) -> std::result::Result<(), OutOfMemory> {
    match runtime.enough_bytes() {
        Some(most) if bytes > most => Err(OutOfMemory {
            device: runtime.device(),
            what: "a program of this size".to_owned(),
            needed: bytes,
            room: Room::Chosen(most),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::CpuRuntime;
    use crate::error::DeviceError;
    use crate::ops::pointwise::{Function, Pointwise};
    use crate::tensor::Dtype;

    impl Graphs for Graph {
        fn graphs(&self) -> Vec<&Graph> {
            vec![self]
        }
    }

    fn graph(numel: usize) -> Result<Graph> {
        let mut graph = Graph::new();
        let x = graph.input("x", &[numel], Dtype::F32);
        let sigmoid = Pointwise {
            numel,
            function: Function::Sigmoid,
            scale: 1.0,
            offset: 0.0,
        };
        let y = graph.call(sigmoid, &[x])?[0];
        graph.keep(y);
        Ok(graph)
    }

    /// Sizes that were refused, with the reason, and the one that was taken.
    fn search(
        sizes: &[usize],
        build: impl FnMut(usize) -> Result<Graph>,
    ) -> (Vec<(usize, String)>, Result<usize>) {
        let mut said = Vec::new();
        let mut runtime = CpuRuntime::<f32>::new();
        let found = largest(&mut runtime, sizes.iter().copied(), build, |size, e| {
            said.push((size, e.to_string()));
        });
        (said, found.map(|fit| fit.size))
    }

    #[test]
    fn a_chosen_cap_gives_way_where_nothing_is_smaller() {
        let (said, found) = search(&[4, 2, 1], |size| graph(size << 26));
        assert_eq!(found.unwrap(), 2);
        assert_eq!(said.len(), 1);
        assert!(
            said[0]
                .1
                .contains("takes 2.0 GiB; 1.0 GiB at a time is a chosen cap"),
            "{said:?}"
        );
        // Not loaded, but not refused for its cap either.
        let runtime = CpuRuntime::<f32>::new();
        let (small, large) = (graph(1).unwrap(), graph(1 << 28).unwrap());
        assert_eq!(runtime.fits(&small), Ok(8));
        assert!(keep_to_cap(&runtime, runtime.fits(&large).unwrap_or(1 << 31)).is_err());
    }

    #[test]
    fn only_size_is_a_reason_to_try_smaller() {
        // An op that cannot be so large, then a state that no machine holds, then one that every machine does.
        let of_state = |numel| {
            let mut graph = Graph::new();
            graph.state("s", &[numel]);
            Ok(graph)
        };
        let build = |size| {
            if size == usize::MAX {
                graph(size)
            } else {
                of_state(size)
            }
        };
        let (said, found) = search(&[usize::MAX, 1 << 60, 8], build);
        assert_eq!((said.len(), found.unwrap()), (2, 8));
        let (_, found) = search(&[1 << 60], of_state);
        assert!(matches!(found, Err(Error::Device(DeviceError::OutOfMemory(_)))));
        let lost = || {
            let (adapter, message) = ("a".to_owned(), "device lost: out of memory".to_owned());
            Error::from(DeviceError::Driver { adapter, message })
        };
        let (said, found) = search(&[2, 1], |_| Err(lost()));
        assert_eq!(said, []);
        assert!(matches!(found, Err(Error::Device(DeviceError::Driver { .. }))));
    }
}

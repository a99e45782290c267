//! Second stages of sums that share a launch. The gradients of gains, biases and thin weights are sums of partial sums, a dozen a
//! layer, each of which takes a few microseconds although there is next to nothing to add. Nobody reads these gradients
//! before the step's end, so such sums wait until some megabytes of partial sums have come together.

use crate::graph::Graph;
use crate::launch::{Dispatch, Lowered, Scratch, Source, View};
use crate::ops::reduce::{COLUMN_SUM, JOBS, Job, alike, jobs};
use crate::port::named;
use crate::shader::Kernel;
use crate::tensor::{BINDING_ALIGN, Bank, Dtype, Role, TensorId};
use std::collections::BTreeMap;
use std::ops::Range;

/// Most words of partial sums that wait.
const MOST_WAITING: usize = 8 << 20;

/// Most words of a sum that waits: larger ones are bound by their bytes, which a cache still holds right after they were written.
const MOST_WORDS: usize = 2 << 20;

/// Words by which parts of scratch memory are aligned.
const ALIGN: usize = BINDING_ALIGN / 4;

/// A gradient that is complete only after a later call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Late {
    /// The call that it is an output of.
    pub(super) call: usize,
    /// The call after which it is there.
    pub(super) after: usize,
    /// The gradient.
    pub(super) tensor: TensorId,
}

/// A sum that can wait.
struct Sum {
    job: Job,
    call: usize,
    tensor: TensorId,
    /// Where the gradient lies in its bank.
    out: View,
    range: Range<usize>,
    /// Its partial sums.
    scratch: usize,
    offset: usize,
}

/// Sums that wait, and their memory.
#[derive(Default)]
struct Waiting {
    sums: Vec<Sum>,
    /// Scratch memory of all their partial sums, and the first word of each that was one of its own.
    places: BTreeMap<usize, usize>,
    words: usize,
}

impl Waiting {
    fn window(&self, more: &Range<usize>) -> usize {
        let ranges = || self.sums.iter().map(|s| &s.range).chain([more]);
        let first = ranges().map(|r| r.start).min().unwrap_or_default();
        ranges().map(|r| r.end).max().unwrap_or_default() - first
    }

    fn touches(&self, range: &Range<usize>) -> bool {
        let meets = |s: &Sum| s.range.start < range.end && range.start < s.range.end;
        self.sums.iter().any(meets)
    }
}

/// Where a tensor lies in the bank of gradients.
fn in_grads(graph: &Graph, view: &View) -> Option<(TensorId, Range<usize>)> {
    let Source::Tensor(id) = view.source else {
        return None;
    };
    match graph.tensor(id).role {
        Role::Bank(Bank::Grad, start) => {
            let start = start + view.offset;
            Some((id, start..start + view.len))
        }
        _ => None,
    }
}

/// What waits, and what is done.
struct Gather<'a> {
    graph: &'a Graph,
    before: &'a Lowered,
    /// Most elements of a binding.
    most: usize,
    waiting: Waiting,
    dispatches: Vec<Dispatch>,
    /// Scratch memory of launches that are shared, by what it was in `before`.
    regions: Vec<usize>,
    moved: BTreeMap<usize, (usize, usize)>,
    late: Vec<Late>,
}

impl Gather<'_> {
    /// The sum of a launch, if it can wait; `last`: the last launch that touches each scratch memory, sums aside.
    fn sum(&self, index: usize, last: &[usize]) -> Option<Sum> {
        let dispatch = &self.before.dispatches[index];
        if dispatch.kernel.path != COLUMN_SUM {
            return None;
        }
        let bound = |name| named(&dispatch.bindings, name).copied();
        let (partials, out) = (bound("partials")?, bound("sum")?);
        let (tensor, range) = in_grads(self.graph, &out).filter(|_| out.dtype == Dtype::F32)?;
        let Source::Scratch(scratch) = partials.source else {
            return None;
        };
        let free = last[scratch] < index && !self.moved.contains_key(&scratch);
        (free && self.before.scratch[scratch].words <= MOST_WORDS.min(self.most)).then(|| Sum {
            job: Job::only(&dispatch.params),
            call: dispatch.call,
            tensor,
            out,
            range,
            scratch,
            offset: partials.offset,
        })
    }

    /// Lets a sum wait, after those that it does not fit to; not if its partial sums went with those.
    fn wait(&mut self, sum: Sum) -> bool {
        let words = self.before.scratch[sum.scratch].words.next_multiple_of(ALIGN);
        let known = self.waiting.places.contains_key(&sum.scratch);
        let more = if known { 0 } else { words };
        if self.waiting.sums.len() == JOBS
            || self.waiting.words + more > MOST_WAITING.min(self.most)
            || self.waiting.window(&sum.range) > self.most
            || self.waiting.touches(&sum.range)
        {
            self.flush();
            if known {
                return false;
            }
        }
        let waiting = &mut self.waiting;
        if !known {
            waiting.places.insert(sum.scratch, waiting.words);
            waiting.words += words;
        }
        waiting.sums.push(sum);
        true
    }

    /// A launch for all that waits.
    fn flush(&mut self) {
        let Waiting { sums, places, words } = std::mem::take(&mut self.waiting);
        let Some(first) = sums.iter().min_by_key(|s| s.range.start) else {
            return;
        };
        let start = first.range.start;
        let end = sums.iter().map(|s| s.range.end).max().unwrap_or(start);
        let region = self.regions.len();
        self.regions.push(words);
        let last = self.dispatches.last().map_or(0, |d| d.call);
        let call = sums.iter().map(|s| s.call).fold(last, usize::max);
        let all: Vec<Job> = sums
            .iter()
            .map(|s| s.job.at(places[&s.scratch] + s.offset, s.range.start - start))
            .collect();
        let (wide, all) = alike(all);
        let (params, grid) = jobs(&all);
        let partials = View {
            source: Source::Scratch(self.before.scratch.len() + region),
            offset: 0,
            len: words,
            dtype: Dtype::F32,
        };
        let sum = View {
            len: end - start,
            ..first.out
        };
        self.dispatches.push(Dispatch {
            call,
            kernel: Kernel::new(COLUMN_SUM).set("SEVERAL", true).set("WIDE", wide),
            bindings: vec![("partials", partials), ("sum", sum)],
            params: bytemuck::bytes_of(&params).to_vec(),
            grid,
        });
        self.late.extend(sums.iter().map(|s| Late {
            call: s.call,
            after: call,
            tensor: s.tensor,
        }));
        let places = places.into_iter().map(|(scratch, at)| (scratch, (region, at)));
        self.moved.extend(places);
    }
}

/// A lowered graph with fewer launches, whose bindings take at most `binding_bytes`, and which gradients come late in it.
pub(super) fn gather(graph: &Graph, before: &Lowered, binding_bytes: u64) -> (Lowered, Vec<Late>) {
    let mut last = vec![0; before.scratch.len()];
    for (i, dispatch) in before.dispatches.iter().enumerate() {
        if dispatch.kernel.path == COLUMN_SUM {
            continue;
        }
        for (_, view) in &dispatch.bindings {
            if let Source::Scratch(scratch) = view.source {
                last[scratch] = i;
            }
        }
    }
    let mut g = Gather {
        graph,
        before,
        most: usize::try_from(binding_bytes / 4).unwrap_or(usize::MAX),
        waiting: Waiting::default(),
        dispatches: Vec::with_capacity(before.dispatches.len()),
        regions: Vec::new(),
        moved: BTreeMap::new(),
        late: Vec::new(),
    };
    for (i, dispatch) in before.dispatches.iter().enumerate() {
        if let Some(sum) = g.sum(i, &last)
            && g.wait(sum)
        {
            continue;
        }
        let touched =
            |(_, view): &(_, View)| in_grads(graph, view).is_some_and(|(_, range)| g.waiting.touches(&range));
        if dispatch.bindings.iter().any(touched) {
            g.flush();
        }
        g.dispatches.push(dispatch.clone());
    }
    g.flush();
    let mut dispatches = g.dispatches;
    place(&mut dispatches, before.scratch.len(), &g.moved);
    let words = before.scratch.iter().map(|s| s.words).chain(g.regions).collect();
    let lowered = Lowered {
        scratch: used(&mut dispatches, words),
        dispatches,
        variants: before.variants.clone(),
        rooms: before.rooms.clone(),
        slots: before.slots,
        joined: before.joined.clone(),
    };
    (lowered, g.late)
}

/// Lets every launch find partial sums where they have moved to; regions come after the scratch memory that was there.
fn place(dispatches: &mut [Dispatch], regions: usize, moved: &BTreeMap<usize, (usize, usize)>) {
    let views = dispatches.iter_mut().flat_map(|d| &mut d.bindings);
    for (_, view) in views {
        if let Source::Scratch(scratch) = view.source
            && let Some((region, at)) = moved.get(&scratch)
        {
            view.source = Source::Scratch(regions + region);
            // What is narrow counts in its own elements.
            view.offset += at * 4 / view.dtype.bytes();
        }
    }
}

/// The scratch memory that launches bind, numbered anew, and when each is used.
fn used(dispatches: &mut [Dispatch], words: Vec<usize>) -> Vec<Scratch> {
    let mut names = vec![None; words.len()];
    let mut scratch: Vec<Scratch> = Vec::new();
    for dispatch in dispatches {
        for (_, view) in &mut dispatch.bindings {
            let Source::Scratch(old) = view.source else {
                continue;
            };
            let name = *names[old].get_or_insert_with(|| {
                let calls = dispatch.call..=dispatch.call;
                scratch.push(Scratch {
                    words: words[old],
                    calls,
                });
                scratch.len() - 1
            });
            let calls = &mut scratch[name].calls;
            *calls = *calls.start()..=dispatch.call;
            view.source = Source::Scratch(name);
        }
    }
    scratch
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::CpuRuntime;
    use crate::gpu::lower::{check, lower};
    use crate::graph::Init;
    use crate::launch::Caps;
    use crate::models::{ModelConfig, block};
    use crate::ops::layer_norm::LayerNorm;
    use crate::runtime::{Data, Runtime};
    use crate::step::StepParams;
    use crate::variant::Choice;
    use std::collections::BTreeSet;

    fn net(layers: usize) -> Graph {
        let model = ModelConfig::new(block("gated_delta_net").unwrap(), layers, 64, 17, 97);
        model.train_net(2, 64, 16).unwrap().graph
    }

    /// Jobs of a launch of sums.
    fn jobs_of(dispatch: &Dispatch) -> Vec<Job> {
        let size = size_of::<Job>();
        let all = dispatch.params.chunks(size).map(Job::only);
        let groups = dispatch.grid[0] * dispatch.grid[1];
        all.take_while(|job| job.first() < groups).collect()
    }

    fn sums(lowered: &Lowered) -> impl Iterator<Item = &Dispatch> {
        let all = lowered.dispatches.iter();
        all.filter(|d| d.kernel.path == COLUMN_SUM)
    }

    fn bound(dispatch: &Dispatch, name: &str) -> View {
        *named(&dispatch.bindings, name).unwrap()
    }

    /// Gradients that launches of sums write, as they come.
    fn written(graph: &Graph, lowered: &Lowered) -> Vec<Range<usize>> {
        let of = |d: &Dispatch| {
            let start = in_grads(graph, &bound(d, "sum")).map(|(_, range)| range.start);
            let jobs = jobs_of(d).into_iter();
            start.map_or(Vec::new(), |start| jobs.map(|job| job.out(start)).collect())
        };
        sums(lowered).flat_map(of).collect()
    }

    #[test]
    fn sums_share_launches_and_each_is_done_once() {
        let graph = net(3);
        let caps = Caps::webgpu_default();
        let before = lower(&graph, &caps, &Choice::default());
        check(&graph, &before).unwrap();
        let (after, late) = gather(&graph, &before, caps.binding_bytes);
        let [many, few] = [&before, &after].map(|lowered| sums(lowered).count());
        assert!(many > 8 * few, "{many}, {few}");
        let [mut old, mut new] = [&before, &after].map(|lowered| written(&graph, lowered));
        old.sort_by_key(|r| r.start);
        new.sort_by_key(|r| r.start);
        assert_eq!(old, new);
        assert!(after.dispatches.is_sorted_by_key(|d| d.call));
        let calls: BTreeSet<usize> = after.dispatches.iter().map(|d| d.call).collect();
        assert_eq!(calls.len(), graph.calls().len(), "every call has a launch");
        assert!(late.iter().all(|late| late.call <= late.after));
    }

    /// What is added up is what an earlier launch wrote, and lives as long.
    #[test]
    fn partial_sums_live_until_they_are_added_up() {
        let graph = net(2);
        let caps = Caps::webgpu_default();
        let before = lower(&graph, &caps, &Choice::default());
        let (after, _) = gather(&graph, &before, caps.binding_bytes);
        for (i, dispatch) in after.dispatches.iter().enumerate() {
            for (_, view) in &dispatch.bindings {
                let Source::Scratch(scratch) = view.source else {
                    continue;
                };
                let Scratch { words, calls } = &after.scratch[scratch];
                assert!(calls.contains(&dispatch.call));
                assert!((view.offset + view.len) * view.dtype.bytes() <= 4 * words);
                assert!((view.offset * view.dtype.bytes()).is_multiple_of(256));
            }
            if dispatch.kernel.path != COLUMN_SUM {
                continue;
            }
            let partials = bound(dispatch, "partials");
            for job in jobs_of(dispatch) {
                let part = job.partials(partials.offset);
                let writes = |d: &Dispatch| {
                    d.bindings.iter().any(|(_, view)| {
                        let range = view.offset..view.offset + view.len;
                        view.source == partials.source && range.start <= part.start && part.end <= range.end
                    })
                };
                assert!(after.dispatches[..i].iter().any(writes), "{part:?}");
            }
        }
    }

    /// Two norms with one gain and one bias, and the gradient of what comes out.
    fn shared() -> (Graph, [TensorId; 2]) {
        let mut g = Graph::new();
        let (rows, d, eps, sum) = (64, 32, 1e-5, None);
        let norm = LayerNorm { rows, d, eps, sum };
        let x = g.input("x", &[rows, d], Dtype::F32);
        let w = g.param("w", &[d], Init::Constant(0.0));
        let b = g.param("b", &[d], Init::Constant(0.0));
        let y = g.call(norm.clone(), &[x, w, b]).unwrap()[0];
        let z = g.call(norm, &[y, w, b]).unwrap()[0];
        let seed = g.input("seed", &[rows, d], Dtype::F32);
        g.backward(&[(z, seed)], &[x]).unwrap();
        (g, [x, seed])
    }

    #[test]
    fn sums_into_one_gradient_do_not_meet() {
        let (graph, _) = shared();
        let caps = Caps::webgpu_default();
        let before = lower(&graph, &caps, &Choice::default());
        let (after, _) = gather(&graph, &before, caps.binding_bytes);
        assert_eq!([&before, &after].map(|lowered| sums(lowered).count()), [4, 2]);
        for dispatch in sums(&after) {
            let outs: Vec<_> = jobs_of(dispatch).iter().map(|job| job.out(0)).collect();
            assert!(outs[0].end <= outs[1].start || outs[1].end <= outs[0].start);
        }
    }

    /// The bias's gradient overflows in a call that has nothing else that is not finite: that call is named, not the later one
    /// after which the gradient is there.
    #[test]
    fn late_gradients_are_found_in_their_call() {
        let (graph, [x, seed]) = shared();
        let check = |device: &str, runtime: &mut dyn Runtime| {
            let program = runtime.load(&graph).unwrap();
            runtime
                .write_bank(Bank::Param, &vec![0.0; graph.bank_len()])
                .unwrap();
            runtime.clear_bank(Bank::Grad).unwrap();
            let ramp: Vec<f32> = (0..64 * 32).map(|i| i as f32).collect();
            runtime.write(program, x, Data::F32(&ramp)).unwrap();
            runtime.write(program, seed, Data::F32(&[3e38; 64 * 32])).unwrap();
            let found = runtime.first_not_finite(program, &StepParams::eval(1)).unwrap();
            let (call, tensor, _) = found.unwrap();
            assert_eq!((call, graph.tensor(tensor).name.as_str()), (2, "d b"), "{device}");
        };
        check("CPU f32", &mut CpuRuntime::<f32>::new());
        crate::testing::gpu::each_device(check);
    }

    #[test]
    fn bindings_stay_within_their_limit() {
        let graph = net(4);
        let caps = Caps::webgpu_default();
        let before = lower(&graph, &caps, &Choice::default());
        let most = before.dispatches.iter().flat_map(|d| &d.bindings);
        let most = most.map(|(_, view)| view.len).max().unwrap();
        let (free, _) = gather(&graph, &before, caps.binding_bytes);
        let (held, _) = gather(&graph, &before, 4 * 20_000);
        assert!(sums(&held).count() > sums(&free).count());
        for (_, view) in sums(&held).flat_map(|d| &d.bindings) {
            assert!(view.len <= 20_000.max(most), "{view:?}");
        }
    }
}

//! Gives every tensor of a graph a place: tensors whose lifetimes do not meet share memory.

use crate::graph::Graph;
use crate::tensor::{Role, TensorId};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

/// Something that needs memory from call `first` to call `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// Size.
    pub bytes: usize,
    /// First call that touches it.
    pub first: usize,
    /// Last call that touches it.
    pub last: usize,
    /// Items of different classes never share a block (the CPU keeps integers apart).
    pub class: u8,
}

/// Where an item lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which block.
    pub block: usize,
    /// Byte offset in it.
    pub offset: usize,
}

/// How blocks are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// A few large blocks with many items side by side (GPU buffers): offsets are multiples of `align`, no block is
    /// larger than `max_block` unless a single item is.
    Packed {
        /// Alignment of offsets, in bytes.
        align: usize,
        /// Largest block, in bytes.
        max_block: usize,
    },
    /// One item at a time in a block (CPU vectors).
    OneAtATime,
}

/// Places of items, and the blocks that hold them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// By item.
    pub places: Vec<Place>,
    /// Size of each block, in bytes.
    pub blocks: Vec<usize>,
    /// Class of each block's items.
    pub classes: Vec<u8>,
}

/// Items that are packed by size at most: that takes a time that grows with their square.
const MOST_BY_SIZE: usize = 4096;

impl Plan {
    /// Greedy by size: the largest items first, each at the lowest offset that is free for its whole lifetime. Where there
    /// are too many items to pack so, as they come and go: see `Plan::by_time`.
    pub fn new(items: &[Item], policy: Policy) -> Self {
        match policy {
            Policy::Packed { align, max_block } if items.len() > MOST_BY_SIZE => {
                Self::by_time(items, align, max_block)
            }
            _ => Self::by_size(items, policy),
        }
    }

    /// Packs items in the order of their first call, each into the smallest hole that takes it, or at the end: what an
    /// allocator would do if the calls ran. In n log n; graphs of 24 layers become 0 to 4 % larger than by size, of 1,024 less
    /// than 0.1 %.
    fn by_time(items: &[Item], align: usize, max_block: usize) -> Self {
        let mut order: Vec<usize> = (0..items.len()).collect();
        order.sort_by_key(|&i| (items[i].first, Reverse(items[i].bytes), i));
        let mut plan = Self {
            places: vec![Place { block: 0, offset: 0 }; items.len()],
            ..Self::default()
        };
        let mut holes: Vec<Holes> = Vec::new();
        let mut alive: BinaryHeap<Reverse<(usize, usize)>> = BinaryHeap::new();
        for i in order {
            let item = items[i];
            while let Some(&Reverse((last, gone))) = alive.peek()
                && last < item.first
            {
                alive.pop();
                let Place { block, offset } = plan.places[gone];
                holes[block].free(offset, Holes::room(items[gone].bytes, align));
            }
            let room = Holes::room(item.bytes, align);
            let found = (0..holes.len())
                .filter(|&b| plan.classes[b] == item.class)
                .find_map(|block| {
                    let offset = holes[block].take(room, max_block)?;
                    Some(Place { block, offset })
                });
            let place = found.unwrap_or_else(|| {
                plan.blocks.push(0);
                plan.classes.push(item.class);
                holes.push(Holes {
                    end: room,
                    ..Holes::default()
                });
                Place {
                    block: plan.blocks.len() - 1,
                    offset: 0,
                }
            });
            let size = &mut plan.blocks[place.block];
            *size = (*size).max(place.offset.saturating_add(item.bytes));
            plan.places[i] = place;
            alive.push(Reverse((item.last, i)));
        }
        plan
    }

    /// See [`Plan::new`].
    fn by_size(items: &[Item], policy: Policy) -> Self {
        let mut order: Vec<usize> = (0..items.len()).collect();
        order.sort_by_key(|&i| (Reverse(items[i].bytes), items[i].first, i));
        let mut plan = Self {
            places: vec![Place { block: 0, offset: 0 }; items.len()],
            ..Self::default()
        };
        let mut members: Vec<Vec<usize>> = Vec::new();
        // One at a time: last call by first call, of items whose lifetimes do not meet, and at which moments one lives.
        let mut spans: Vec<BTreeMap<usize, usize>> = Vec::new();
        let mut lives: Vec<u64> = Vec::new();
        let end = items.iter().map(|item| item.last).max().unwrap_or_default();
        for i in order {
            let item = items[i];
            let moments = moments(item, end);
            let found = (0..plan.blocks.len())
                .filter(|&b| lives[b] & moments == 0 && plan.classes[b] == item.class)
                .find_map(|b| {
                    let (offset, limit) = match policy {
                        Policy::Packed { align, max_block } => {
                            (plan.free_offset(items, &members[b], item, align), max_block)
                        }
                        Policy::OneAtATime => (is_free(&spans[b], item).then_some(0)?, plan.blocks[b]),
                    };
                    (offset.saturating_add(item.bytes) <= limit).then_some(Place { block: b, offset })
                });
            let place = found.unwrap_or_else(|| {
                plan.blocks.push(0);
                plan.classes.push(item.class);
                members.push(Vec::new());
                spans.push(BTreeMap::new());
                lives.push(0);
                Place {
                    block: plan.blocks.len() - 1,
                    offset: 0,
                }
            });
            let size = &mut plan.blocks[place.block];
            *size = (*size).max(place.offset.saturating_add(item.bytes));
            match policy {
                Policy::Packed { .. } => members[place.block].push(i),
                Policy::OneAtATime => {
                    spans[place.block].insert(item.first, item.last);
                    lives[place.block] |= moments;
                }
            }
            plan.places[i] = place;
        }
        plan
    }

    /// The lowest offset that is free while the item lives.
    fn free_offset(&self, items: &[Item], members: &[usize], item: Item, align: usize) -> usize {
        let alive = members
            .iter()
            .filter(|&&m| items[m].first <= item.last && item.first <= items[m].last);
        let mut taken: Vec<(usize, usize)> = alive
            .map(|&m| {
                (
                    self.places[m].offset,
                    self.places[m]
                        .offset
                        .saturating_add(items[m].bytes)
                        .checked_next_multiple_of(align)
                        .unwrap_or(usize::MAX),
                )
            })
            .collect();
        taken.sort_unstable();
        let mut offset = 0usize;
        for (start, end) in taken {
            if offset.saturating_add(item.bytes) <= start {
                break;
            }
            offset = offset.max(end);
        }
        offset
    }

    /// Which of the memory that is `there` (bytes and class) each block can take, the largest block first and each the
    /// smallest that is left; `None` where nothing is.
    pub fn fit_into(&self, there: &[(usize, u8)]) -> Vec<Option<usize>> {
        let mut free: Vec<usize> = (0..there.len()).collect();
        free.sort_by_key(|&i| there[i].0);
        let mut order: Vec<usize> = (0..self.blocks.len()).collect();
        order.sort_by_key(|&block| Reverse(self.blocks[block]));
        let mut taken = vec![None; self.blocks.len()];
        for block in order {
            let fits = |&i: &usize| there[i].0 >= self.blocks[block] && there[i].1 == self.classes[block];
            if let Some(at) = free.iter().position(fits) {
                taken[block] = Some(free.remove(at));
            }
        }
        taken
    }

    /// All blocks together, in bytes; `usize::MAX` if they are more.
    pub fn bytes(&self) -> usize {
        self.blocks
            .iter()
            .fold(0, |sum: usize, block| sum.saturating_add(*block))
    }
}

/// What is free in a block that is filled as time goes on.
#[derive(Debug, Default)]
struct Holes {
    /// Length by offset. None ends where the block does.
    by_offset: BTreeMap<usize, usize>,
    /// The same as length and offset.
    by_length: BTreeSet<(usize, usize)>,
    /// Where what is taken ends.
    end: usize,
}

impl Holes {
    /// Bytes that an item takes here: at least one, so that no two items have one place.
    fn room(bytes: usize, align: usize) -> usize {
        bytes.max(1).checked_next_multiple_of(align).unwrap_or(usize::MAX)
    }

    /// The smallest hole that is large enough, else the end of the block, if that leaves it within `most`.
    fn take(&mut self, room: usize, most: usize) -> Option<usize> {
        if let Some(&(length, offset)) = self.by_length.range((room, 0)..).next() {
            self.remove(offset, length);
            if length > room {
                self.insert(offset + room, length - room);
            }
            return Some(offset);
        }
        let offset = self.end;
        let end = offset.checked_add(room).filter(|end| *end <= most)?;
        self.end = end;
        Some(offset)
    }

    fn free(&mut self, mut offset: usize, mut length: usize) {
        if let Some((&before, &its)) = self.by_offset.range(..offset).next_back()
            && before + its == offset
        {
            self.remove(before, its);
            (offset, length) = (before, its + length);
        }
        if let Some(&its) = self.by_offset.get(&(offset + length)) {
            self.remove(offset + length, its);
            length += its;
        }
        if offset + length == self.end {
            self.end = offset;
        } else {
            self.insert(offset, length);
        }
    }

    fn insert(&mut self, offset: usize, length: usize) {
        self.by_offset.insert(offset, length);
        self.by_length.insert((length, offset));
    }

    fn remove(&mut self, offset: usize, length: usize) {
        self.by_offset.remove(&offset);
        self.by_length.remove(&(length, offset));
    }
}

/// At which of 64 calls an item lives, a bit each: two that share one meet. Rules most blocks out at a glance.
fn moments(item: Item, end: usize) -> u64 {
    let call = |k: u32| end / 64 * k as usize;
    (0..64).fold(0, |bits, k| {
        bits | u64::from((item.first..=item.last).contains(&call(k))) << k
    })
}

/// Whether no item of a block lives while this one does.
fn is_free(spans: &BTreeMap<usize, usize>, item: Item) -> bool {
    let before = spans.range(..=item.last).next_back();
    before.is_none_or(|(_, last)| *last < item.first)
}

/// Lifetime of every tensor outside the banks, and the tensor each belongs to. Inputs live from before the first
/// call, inputs and results until after the last, states always. Activations that no call touches are left out.
pub fn lifetimes(graph: &Graph) -> (Vec<TensorId>, Vec<Item>) {
    let end = graph.calls().len();
    let mut span: Vec<Option<(usize, usize)>> = vec![None; graph.tensors().len()];
    for (i, call) in graph.calls().iter().enumerate() {
        for id in call.touches() {
            let s = span[id.index()].get_or_insert((i, i));
            s.1 = i;
        }
    }
    let mut ids = Vec::new();
    let mut items = Vec::new();
    for (index, info) in graph.tensors().iter().enumerate() {
        let id = TensorId(index as u32);
        let (first, last) = match (info.role, span[index]) {
            (Role::Bank(..), _) | (Role::Activation, None) => continue,
            (Role::Activation, Some(s)) => s,
            (Role::Input | Role::State, _) => (0, end),
            (Role::Result, s) => (s.map_or(0, |s| s.0), end),
        };
        let class = u8::from(info.dtype == crate::tensor::Dtype::U32);
        ids.push(id);
        items.push(Item {
            bytes: info.bytes(),
            first,
            last,
            class,
        });
    }
    (ids, items)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn items() -> impl Strategy<Value = Vec<Item>> {
        let item =
            (1usize..5000, 0usize..40, 0usize..12, 0u8..2).prop_map(|(bytes, first, span, class)| Item {
                bytes,
                first,
                last: first + span,
                class,
            });
        proptest::collection::vec(item, 1..60)
    }

    fn check(items: &[Item], policy: Policy) {
        check_plan(items, policy, &Plan::new(items, policy));
        if let Policy::Packed { align, max_block } = policy {
            check_plan(items, policy, &Plan::by_time(items, align, max_block));
        }
    }

    fn check_plan(items: &[Item], policy: Policy, plan: &Plan) {
        for (i, a) in items.iter().enumerate() {
            let pa = plan.places[i];
            assert!(pa.offset + a.bytes <= plan.blocks[pa.block]);
            assert_eq!(plan.classes[pa.block], a.class);
            if let Policy::Packed { align, max_block } = policy {
                assert_eq!(pa.offset % align, 0);
                assert!(plan.blocks[pa.block] <= max_block.max(a.bytes));
            }
            for (j, b) in items.iter().enumerate().skip(i + 1) {
                let pb = plan.places[j];
                let together = a.first <= b.last && b.first <= a.last && pa.block == pb.block;
                let whole = policy == Policy::OneAtATime;
                let meet = pa.offset < pb.offset + b.bytes && pb.offset < pa.offset + a.bytes;
                assert!(
                    !(together && (whole || meet)),
                    "{a:?} at {pa:?} meets {b:?} at {pb:?}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn no_two_live_items_overlap(items in items()) {
            check(&items, Policy::Packed { align: 256, max_block: 6000 });
            check(&items, Policy::OneAtATime);
        }
    }

    #[test]
    fn blocks_take_what_is_there() {
        let plan = Plan {
            places: Vec::new(),
            blocks: vec![10, 40, 20, 20],
            classes: vec![0, 0, 0, 1],
        };
        let there = [(15, 0), (50, 0), (30, 1), (60, 0)];
        assert_eq!(plan.fit_into(&there), [Some(0), Some(1), Some(3), Some(2)]);
        assert_eq!(plan.fit_into(&there[..1]), [Some(0), None, None, None]);
    }

    #[test]
    fn a_chain_needs_two_places() {
        let items: Vec<Item> = (0..20)
            .map(|i| Item {
                bytes: 1024,
                first: i,
                last: i + 1,
                class: 0,
            })
            .collect();
        let packed = Plan::new(
            &items,
            Policy::Packed {
                align: 256,
                max_block: 1 << 20,
            },
        );
        assert_eq!(packed.bytes(), 2048);
        assert_eq!(Plan::by_time(&items, 256, 1 << 20).bytes(), 2048);
        assert_eq!(Plan::new(&items, Policy::OneAtATime).blocks, [1024, 1024]);
    }
}

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
        Self::with_groups(items, &[], policy)
    }

    /// As [`Plan::new`], with the items of each of `groups` one behind another in one block, in their order. Those of a group but the
    /// last end at legal offsets.
    pub fn with_groups(items: &[Item], groups: &[Vec<usize>], policy: Policy) -> Self {
        let mut alone = vec![true; items.len()];
        groups.iter().flatten().for_each(|&item| alone[item] = false);
        let alone = (0..items.len()).filter(|&i| alone[i]).map(|i| vec![i]);
        let units: Vec<Vec<usize>> = groups.iter().cloned().chain(alone).collect();
        match policy {
            Policy::Packed { align, max_block } if items.len() > MOST_BY_SIZE => {
                Self::by_time(items, &units, align, max_block)
            }
            _ => Self::by_size(items, &units, policy),
        }
    }

    /// What a unit of items that lie one behind another needs as one.
    fn whole(items: &[Item], unit: &[usize]) -> Item {
        let each = || unit.iter().map(|&i| items[i]);
        Item {
            bytes: each().fold(0, |sum: usize, item| sum.saturating_add(item.bytes)),
            first: each().map(|item| item.first).min().unwrap_or_default(),
            last: each().map(|item| item.last).max().unwrap_or_default(),
            class: items[unit[0]].class,
        }
    }

    /// Gives the items of a unit their places, the first at `place`.
    fn put(&mut self, items: &[Item], unit: &[usize], mut place: Place) {
        for &i in unit {
            self.places[i] = place;
            place.offset = place.offset.saturating_add(items[i].bytes);
        }
        let size = &mut self.blocks[place.block];
        *size = (*size).max(place.offset);
    }

    /// Packs units in the order of their first call, each for as long as one of its items lives, into the smallest hole that takes it,
    /// or at the end: what an
    /// allocator would do if the calls ran. In n log n; graphs of 24 layers become 0 to 4 % larger than by size, of 1,024 less
    /// than 0.1 %.
    fn by_time(items: &[Item], units: &[Vec<usize>], align: usize, max_block: usize) -> Self {
        let wholes: Vec<Item> = units.iter().map(|unit| Self::whole(items, unit)).collect();
        let mut order: Vec<usize> = (0..units.len()).collect();
        order.sort_by_key(|&u| (wholes[u].first, Reverse(wholes[u].bytes), units[u][0]));
        let mut plan = Self {
            places: vec![Place { block: 0, offset: 0 }; items.len()],
            ..Self::default()
        };
        let mut holes: Vec<Holes> = Vec::new();
        let mut alive: BinaryHeap<Reverse<(usize, usize)>> = BinaryHeap::new();
        for u in order {
            let item = wholes[u];
            while let Some(&Reverse((last, gone))) = alive.peek()
                && last < item.first
            {
                alive.pop();
                let Place { block, offset } = plan.places[units[gone][0]];
                holes[block].free(offset, Holes::room(wholes[gone].bytes, align));
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
            plan.put(items, &units[u], place);
            alive.push(Reverse((item.last, u)));
        }
        plan
    }

    /// See [`Plan::new`].
    fn by_size(items: &[Item], units: &[Vec<usize>], policy: Policy) -> Self {
        let wholes: Vec<Item> = units.iter().map(|unit| Self::whole(items, unit)).collect();
        let mut order: Vec<usize> = (0..units.len()).collect();
        order.sort_by_key(|&u| (Reverse(wholes[u].bytes), wholes[u].first, units[u][0]));
        let mut plan = Self {
            places: vec![Place { block: 0, offset: 0 }; items.len()],
            ..Self::default()
        };
        let mut members: Vec<Vec<usize>> = Vec::new();
        // One at a time: last call by first call, of items whose lifetimes do not meet, and at which moments one lives.
        let mut spans: Vec<BTreeMap<usize, usize>> = Vec::new();
        let mut lives: Vec<u64> = Vec::new();
        let end = items.iter().map(|item| item.last).max().unwrap_or_default();
        for u in order {
            let (unit, item) = (&units[u], wholes[u]);
            let moments = moments(item, end);
            let found = (0..plan.blocks.len())
                .filter(|&b| lives[b] & moments == 0 && plan.classes[b] == item.class)
                .find_map(|b| {
                    let (offset, limit) = match policy {
                        Policy::Packed { align, max_block } => {
                            (plan.free_offset(items, &members[b], unit, align), max_block)
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
            match policy {
                Policy::Packed { .. } => members[place.block].extend(unit),
                Policy::OneAtATime => {
                    spans[place.block].insert(item.first, item.last);
                    lives[place.block] |= moments;
                }
            }
            plan.put(items, unit, place);
        }
        plan
    }

    /// The lowest offset of a unit at which each of its items has its memory for itself while it lives.
    fn free_offset(&self, items: &[Item], members: &[usize], unit: &[usize], align: usize) -> usize {
        // Offsets of the unit between which, bounds excluded, one of its items meets a member.
        let mut taken: Vec<(i128, i128)> = Vec::new();
        let mut before = 0i128;
        for &i in unit {
            let item = items[i];
            let alive = members
                .iter()
                .filter(|&&m| items[m].first <= item.last && item.first <= items[m].last);
            taken.extend(alive.map(|&m| {
                let start = self.places[m].offset;
                let end = start
                    .saturating_add(items[m].bytes)
                    .checked_next_multiple_of(align)
                    .unwrap_or(usize::MAX);
                let (start, end, bytes) = (start as i128, end as i128, item.bytes as i128);
                (start - before - bytes, end - before)
            }));
            before += item.bytes as i128;
        }
        taken.sort_unstable();
        let mut offset = 0;
        for (low, high) in taken {
            if offset <= low {
                break;
            }
            offset = offset.max(high);
        }
        usize::try_from(offset).unwrap_or(usize::MAX)
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
            let alone: Vec<Vec<usize>> = (0..items.len()).map(|i| vec![i]).collect();
            check_plan(items, policy, &Plan::by_time(items, &alone, align, max_block));
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

    proptest! {
        #[test]
        fn items_of_a_group_lie_one_behind_another(items in items(), size in 2usize..6, by_time: bool) {
            let mut items = items;
            let groups: Vec<Vec<usize>> = (0..items.len() / size / 2)
                .map(|g| (0..size).map(|i| size * g + i).collect())
                .collect();
            for group in &groups {
                let (_, before) = group.split_last().unwrap();
                before.iter().for_each(|&i| items[i].bytes = items[i].bytes.next_multiple_of(256));
                group.iter().for_each(|&i| items[i].class = 0);
            }
            let (align, max_block) = (256, 20_000);
            let plan = if by_time {
                let alone = (groups.len() * size..items.len()).map(|i| vec![i]);
                let units: Vec<_> = groups.iter().cloned().chain(alone).collect();
                Plan::by_time(&items, &units, align, max_block)
            } else {
                Plan::with_groups(&items, &groups, Policy::Packed { align, max_block })
            };
            for pair in groups.iter().flat_map(|group| group.windows(2)) {
                let [a, b] = [plan.places[pair[0]], plan.places[pair[1]]];
                assert_eq!((b.block, b.offset), (a.block, a.offset + items[pair[0]].bytes));
            }
            check_plan(&items, Policy::Packed { align, max_block: 40_000 }, &plan);
        }
    }

    /// What lies where items of a group will be, before they are there, is not kept from it.
    #[test]
    fn a_group_takes_no_memory_before_its_items_live() {
        let item = |bytes, first, last| Item {
            bytes,
            first,
            last,
            class: 0,
        };
        let items = [item(256, 0, 9), item(512, 8, 9), item(512, 2, 7)];
        let (align, max_block) = (256, 1 << 20);
        let plan = Plan::with_groups(&items, &[vec![0, 1]], Policy::Packed { align, max_block });
        assert_eq!(plan.bytes(), 768);
        let apart = Plan::by_time(&items, &[vec![0, 1], vec![2]], align, max_block);
        assert_eq!(apart.bytes(), 1280);
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
        let alone: Vec<Vec<usize>> = (0..20).map(|i| vec![i]).collect();
        assert_eq!(Plan::by_time(&items, &alone, 256, 1 << 20).bytes(), 2048);
        assert_eq!(Plan::new(&items, Policy::OneAtATime).blocks, [1024, 1024]);
    }
}

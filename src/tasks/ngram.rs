//! Predictors that remember counts of the last few symbols: what a model reaches without learning the
//! automaton.
//!
//! The first string of a sequence starts by the same law as one after a `#`, so the symbols before the first
//! count as `#`.

use super::grammar::Grammar;

/// The longest context, in symbols.
pub const MAX_ORDER: usize = 8;
/// Bits of a symbol in a packed context; symbols are below 53.
const SYMBOL_BITS: u32 = 6;
/// Bits of a state's rank among the states of its symbol; there are below 65,536 states.
const RANK_BITS: u32 = 16;

/// How often each state followed each context of 1 to `order` symbols, the state's own symbol being the last.
///
/// The contexts of 1 and 2 symbols are dense arrays (at most 2.3 MB). Longer ones cost 8 bytes for each
/// element counted and order, so they are for data sets of some million elements.
#[derive(Debug, Clone)]
pub struct NgramCounts<'a> {
    grammar: &'a Grammar,
    order: usize,
    /// Rank of each state among those of its symbol, by class id.
    ranks: Vec<u16>,
    /// Most states that share a symbol, R.
    most: usize,
    /// `[V, R]`
    one: Vec<u64>,
    /// `[V, V, R]`; previous symbol first.
    two: Vec<u64>,
    /// For each order from 3 on: context and rank of every element, packed.
    long: Vec<Vec<u64>>,
}

impl<'a> NgramCounts<'a> {
    /// Empty counts for contexts of up to `order` symbols.
    ///
    /// # Panics
    /// For an order of 0 or above [`MAX_ORDER`].
    pub fn new(grammar: &'a Grammar, order: usize) -> Self {
        assert!((1..=MAX_ORDER).contains(&order), "contexts of {order} symbols");
        let vocab = grammar.vocab();
        let mut by_class: Vec<usize> = (0..grammar.classes()).collect();
        by_class.sort_by_key(|&state| grammar.ids()[state]);
        let mut ranks = vec![0; grammar.classes()];
        let mut shared = vec![0u16; vocab];
        for state in by_class {
            let count = &mut shared[usize::from(grammar.symbols()[state])];
            ranks[state] = *count;
            *count += 1;
        }
        let most = usize::from(shared.into_iter().max().unwrap_or(0));
        Self {
            grammar,
            order,
            ranks,
            most,
            one: vec![0; vocab * most],
            two: vec![0; if order > 1 { vocab * vocab * most } else { 0 }],
            long: vec![Vec::new(); order.saturating_sub(2)],
        }
    }

    /// Counts one sequence, given by the positions of its states.
    pub fn add(&mut self, states: &[u16]) {
        let symbols = self.grammar.symbols();
        let vocab = self.grammar.vocab();
        let mut previous = 0;
        let mut context = 0;
        for &state in states {
            let symbol = usize::from(symbols[usize::from(state)]);
            let rank = usize::from(self.ranks[usize::from(state)]);
            self.one[symbol * self.most + rank] += 1;
            if self.order > 1 {
                self.two[(previous * vocab + symbol) * self.most + rank] += 1;
            }
            previous = symbol;
            // As `#` is symbol 0, the empty context is one of `#`.
            context = append(context, symbols[usize::from(state)]);
            for (list, n) in self.long.iter_mut().zip(3..) {
                list.push(last(context, n) << RANK_BITS | rank as u64);
            }
        }
    }

    /// Adds the counts of another part of the same data.
    pub fn merge(mut self, other: Self) -> Self {
        for (sum, count) in self.one.iter_mut().zip(other.one) {
            *sum += count;
        }
        for (sum, count) in self.two.iter_mut().zip(other.two) {
            *sum += count;
        }
        for (list, more) in self.long.iter_mut().zip(other.long) {
            list.extend(more);
        }
        self
    }

    /// The predictor: for each context the most frequent class, ties to the lowest.
    pub fn finish(mut self) -> NgramModel {
        let vocab = self.grammar.vocab();
        let mut classes = vec![0u32; vocab * self.most];
        for (state, &symbol) in self.grammar.symbols().iter().enumerate() {
            classes[usize::from(symbol) * self.most + usize::from(self.ranks[state])] =
                self.grammar.ids()[state];
        }
        // Ranks ascend with class ids, so the first maximum is the lowest class.
        let best = |counts: &[u64], symbol: usize| {
            let (rank, &count) = counts.iter().enumerate().rev().max_by_key(|&(_, count)| count)?;
            (count > 0).then(|| classes[symbol * self.most + rank])
        };
        let one: Vec<Option<u32>> = self
            .one
            .chunks(self.most)
            .enumerate()
            .map(|(s, c)| best(c, s))
            .collect();
        let two = self
            .two
            .chunks(self.most)
            .enumerate()
            .map(|(i, c)| best(c, i % vocab))
            .collect();
        let most_frequent = self
            .one
            .iter()
            .zip(&classes)
            .max_by_key(|&(count, class)| (count, !class));
        let constant = most_frequent.map_or(0, |(_, &class)| class);
        let long = self.long.iter_mut().map(|list| {
            list.sort_unstable();
            most_frequent_by_context(list, |symbol, rank| classes[symbol * self.most + rank])
        });
        NgramModel {
            vocab,
            constant,
            long: long.collect(),
            one,
            two,
        }
    }
}

/// A packed context, one symbol later.
fn append(context: u64, symbol: u8) -> u64 {
    last(context << SYMBOL_BITS | u64::from(symbol), MAX_ORDER as u32)
}

/// The last `n` symbols of a packed context.
fn last(context: u64, n: u32) -> u64 {
    context & ((1 << (SYMBOL_BITS * n)) - 1)
}

/// From sorted (context, rank) words, the class of the most frequent rank of each context.
fn most_frequent_by_context(sorted: &[u64], class: impl Fn(usize, usize) -> u32) -> Vec<(u64, u32)> {
    let mut contexts: Vec<(u64, u32)> = Vec::new();
    for same_context in sorted.chunk_by(|a, b| a >> RANK_BITS == b >> RANK_BITS) {
        let runs = same_context.chunk_by(|a, b| a == b);
        // The last maximum of the reversed runs is the lowest rank.
        let runs: Vec<&[u64]> = runs.collect();
        if let Some(run) = runs.iter().rev().max_by_key(|run| run.len()) {
            let context = run[0] >> RANK_BITS;
            let symbol = (context & ((1 << SYMBOL_BITS) - 1)) as usize;
            let rank = (run[0] & ((1 << RANK_BITS) - 1)) as usize;
            contexts.push((context, class(symbol, rank)));
        }
    }
    contexts
}

/// Predicts the class of an element from the last few symbols, its own included.
#[derive(Debug, Clone)]
pub struct NgramModel {
    vocab: usize,
    constant: u32,
    one: Vec<Option<u32>>,
    two: Vec<Option<u32>>,
    /// For each order from 3 on: contexts in ascending order, each with its class.
    long: Vec<Vec<(u64, u32)>>,
}

impl NgramModel {
    /// The most frequent class.
    pub fn constant(&self) -> u32 {
        self.constant
    }

    /// The class of the last of these symbols, by the longest suffix of at most `n` symbols that has been
    /// counted. Without any, the most frequent class.
    ///
    /// # Panics
    /// For no symbols.
    pub fn predict(&self, symbols: &[u8], n: usize) -> u32 {
        assert!(!symbols.is_empty(), "nothing to predict");
        let context = symbols.iter().fold(0, |context, &symbol| append(context, symbol));
        self.after(context, n)
    }

    fn after(&self, context: u64, n: usize) -> u32 {
        let suffixes = (1..=n as u32).rev();
        suffixes
            .into_iter()
            .find_map(|m| self.lookup(last(context, m), m))
            .unwrap_or(self.constant)
    }

    fn lookup(&self, context: u64, n: u32) -> Option<u32> {
        let symbol = last(context, 1) as usize;
        match n {
            1 => self.one[symbol],
            2 => {
                let previous = (context >> SYMBOL_BITS) as usize;
                self.two.get(previous * self.vocab + symbol).copied().flatten()
            }
            _ => {
                let list = self.long.get(n as usize - 3)?;
                let at = list
                    .binary_search_by_key(&context, |&(context, _)| context)
                    .ok()?;
                Some(list[at].1)
            }
        }
    }

    /// How many elements of a sequence are predicted correctly: entry 0 by the most frequent class, entry n
    /// by contexts of up to n symbols. `symbols` and `targets` (class ids) have one entry for each element.
    pub fn correct<const N: usize>(&self, symbols: &[u8], targets: &[u32]) -> [u64; N] {
        let mut correct = [0; N];
        let mut context = 0;
        for (&symbol, &target) in symbols.iter().zip(targets) {
            context = append(context, symbol);
            for (n, hits) in correct.iter_mut().enumerate() {
                *hits += u64::from(self.after(context, n) == target);
            }
        }
        correct
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Positions: A0 = 0, A1 = 1, B = 2, # = 3.
    fn grammar() -> Grammar {
        let text = r##"{"states": ["A0", "A1", "B", "#"], "ids": [1, 2, 3, 0], "initial": [0],
            "transitions": [[0, 1, 0.5], [0, 2, 0.5], [1, 2, 1], [2, 3, 1]]}"##;
        Grammar::from_json(text, "g.json").unwrap()
    }

    #[test]
    fn longest_counted_suffix_decides() {
        let grammar = grammar();
        let mut counts = NgramCounts::new(&grammar, 3);
        counts.add(&[0, 1, 2, 3, 0, 2, 3]);
        let model = counts.finish();
        // A0 twice, A1 once; A1 after A0.
        assert_eq!(model.predict(&[1], 3), 1);
        assert_eq!(model.predict(&[1, 1], 3), 2);
        assert_eq!(model.predict(&[1, 1], 1), 1);
        // `B A` was never seen: back to `A`. A0, B and # occur twice each: the lowest class is the constant.
        assert_eq!(model.predict(&[2, 1], 3), 1);
        assert_eq!(model.predict(&[2, 1], 0), 0);
        assert_eq!(model.constant(), 0);
        assert_eq!(model.correct::<4>(&[1, 1, 2, 0], &[1, 2, 3, 0]), [1, 3, 4, 4]);
    }

    #[test]
    fn sequence_begins_as_after_the_terminator() {
        let grammar = grammar();
        let mut counts = NgramCounts::new(&grammar, 4);
        counts.add(&[0, 1, 1, 1]);
        let model = counts.finish();
        assert_eq!([1, 2, 3].map(|n| model.predict(&[1], n)), [2, 1, 1]);
        assert_eq!(model.predict(&[2, 0, 1], 2), 1);
        assert_eq!(model.predict(&[0, 1, 1], 4), 2);
    }

    #[test]
    fn parts_merge_to_the_whole() {
        let grammar = grammar();
        let sequences: [&[u16]; 3] = [&[0, 1, 2, 3, 0], &[0, 2, 3, 0, 1], &[1, 1, 1, 2, 2]];
        let mut whole = NgramCounts::new(&grammar, 5);
        let parts = sequences.map(|states| {
            whole.add(states);
            let mut part = NgramCounts::new(&grammar, 5);
            part.add(states);
            part
        });
        let merged = parts.into_iter().reduce(NgramCounts::merge).unwrap().finish();
        let whole = whole.finish();
        assert_eq!(
            (&merged.one, &merged.two, &merged.long),
            (&whole.one, &whole.two, &whole.long)
        );
    }

    #[test]
    fn unseen_symbol_gets_the_constant() {
        let grammar = grammar();
        let mut counts = NgramCounts::new(&grammar, 2);
        counts.add(&[2, 2, 3]);
        assert_eq!(counts.finish().predict(&[1], 2), 3);
    }
}

//! Predictors that remember counts of the last few symbols: what a model reaches without learning the
//! automaton. Where gaps are filled with symbols, these count as symbols too.
//!
//! The first string of a sequence starts by the same law as one after a `#`, so the symbols before the first
//! count as `#`.

use super::grammar::Grammar;
use super::sample::Sample;
use super::spec::Targets;
use std::sync::Arc;

/// The longest context, in symbols.
pub const MAX_ORDER: usize = 6;
/// Bits of a symbol in a packed context; symbols are below 255.
const SYMBOL_BITS: u32 = 8;
/// Bits of a label's rank among those that its symbol can have; there are below 65,536 states.
const RANK_BITS: u32 = 16;

/// One symbol as a predictor meets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// Symbol id.
    pub symbol: u8,
    /// What is asked for: `None` where a gap is filled with a symbol.
    pub label: Option<u32>,
}

impl Sample {
    /// The symbols that are shown, those in gaps included; at each element's own symbol its target.
    pub fn tokens(&self) -> impl Iterator<Item = Token> + '_ {
        let mut filled = self.gap_symbols.iter().copied();
        let elements = self.symbols.iter().zip(&self.targets).zip(&self.gaps);
        elements.flat_map(move |((&symbol, &label), &gap)| {
            let gap = filled.by_ref().take(usize::from(gap));
            let gap: Vec<Token> = gap.map(|symbol| Token { symbol, label: None }).collect();
            std::iter::once(Token {
                symbol,
                label: Some(label),
            })
            .chain(gap)
        })
    }
}

/// The labels that can stand at each symbol.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Labels {
    /// Symbols, V.
    vocab: usize,
    /// Rank of each label among those of its symbol, by label.
    ranks: Vec<u16>,
    /// Most labels that a symbol has, R.
    most: usize,
    /// `[V, R]`: label of each rank, ascending.
    labels: Vec<u32>,
}

impl Labels {
    /// The classes of the states of each symbol, or any symbol after any.
    fn new(grammar: &Grammar, targets: Targets) -> Self {
        let vocab = grammar.vocab();
        let lists: Vec<Vec<u32>> = match targets {
            Targets::Next => vec![(0..vocab as u32).collect(); vocab],
            Targets::Class => {
                let mut lists = vec![Vec::new(); vocab];
                for (&symbol, &id) in grammar.symbols().iter().zip(grammar.ids()) {
                    lists[usize::from(symbol)].push(id);
                }
                lists
                    .iter_mut()
                    .for_each(|list: &mut Vec<u32>| list.sort_unstable());
                lists
            }
        };
        let most = lists.iter().map(Vec::len).max().unwrap_or(0);
        let mut ranks = vec![
            0;
            lists
                .iter()
                .flatten()
                .max()
                .map_or(0, |&label| label as usize + 1)
        ];
        let mut labels = vec![0; vocab * most];
        for (symbol, list) in lists.iter().enumerate() {
            for (rank, &label) in list.iter().enumerate() {
                ranks[label as usize] = rank as u16;
                labels[symbol * most + rank] = label;
            }
        }
        Self {
            vocab,
            ranks,
            most,
            labels,
        }
    }
}

/// How often each label stood after each context of 1 to `order` symbols, the label's own symbol being the last.
///
/// The contexts of 1 and 2 symbols are dense arrays. Longer ones cost 8 bytes for each element counted and order, so
/// they are for data sets of some million elements.
#[derive(Debug, Clone)]
pub struct NgramCounts {
    order: usize,
    labels: Arc<Labels>,
    /// `[V, R]`
    one: Vec<u32>,
    /// `[V, V, R]`; previous symbol first.
    two: Vec<u32>,
    /// For each order from 3 on: context and rank of every element, packed.
    long: Vec<Vec<u64>>,
}

impl NgramCounts {
    /// Empty counts for contexts of up to `order` symbols.
    ///
    /// # Panics
    /// For an order of 0 or above [`MAX_ORDER`].
    pub fn new(grammar: &Grammar, targets: Targets, order: usize) -> Self {
        assert!((1..=MAX_ORDER).contains(&order), "contexts of {order} symbols");
        let labels = Arc::new(Labels::new(grammar, targets));
        let (vocab, most) = (labels.vocab, labels.most);
        Self {
            order,
            labels,
            one: vec![0; vocab * most],
            two: vec![0; if order > 1 { vocab * vocab * most } else { 0 }],
            long: vec![Vec::new(); order.saturating_sub(2)],
        }
    }

    /// No counts yet, for the same contexts.
    #[must_use]
    pub fn empty(&self) -> Self {
        Self {
            order: self.order,
            labels: Arc::clone(&self.labels),
            one: vec![0; self.one.len()],
            two: vec![0; self.two.len()],
            long: vec![Vec::new(); self.long.len()],
        }
    }

    /// Counts one sequence.
    pub fn add(&mut self, tokens: impl IntoIterator<Item = Token>) {
        let Labels {
            vocab, ranks, most, ..
        } = &*self.labels;
        let mut previous = 0;
        let mut context = 0;
        for Token { symbol, label } in tokens {
            // As `#` is symbol 0, the empty context is one of `#`.
            context = append(context, symbol);
            let symbol = usize::from(symbol);
            if let Some(label) = label {
                let rank = usize::from(ranks[label as usize]);
                self.one[symbol * most + rank] += 1;
                if self.order > 1 {
                    self.two[(previous * vocab + symbol) * most + rank] += 1;
                }
                for (list, n) in self.long.iter_mut().zip(3..) {
                    list.push(last(context, n) << RANK_BITS | rank as u64);
                }
            }
            previous = symbol;
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

    /// The predictor: for each context the most frequent label, ties to the lowest.
    pub fn finish(mut self) -> NgramModel {
        let Labels {
            vocab, most, labels, ..
        } = &*self.labels;
        let (vocab, most) = (*vocab, *most);
        // Ranks ascend with labels, so the first maximum is the lowest label.
        let best = |counts: &[u32], symbol: usize| {
            let (rank, &count) = counts.iter().enumerate().rev().max_by_key(|&(_, count)| count)?;
            (count > 0).then(|| labels[symbol * most + rank])
        };
        let one: Vec<Option<u32>> = self
            .one
            .chunks(most)
            .enumerate()
            .map(|(s, c)| best(c, s))
            .collect();
        let two = self
            .two
            .chunks(most)
            .enumerate()
            .map(|(i, c)| best(c, i % vocab))
            .collect();
        let mut totals = vec![0_u64; labels.iter().max().map_or(0, |&label| label as usize + 1)];
        for (&count, &label) in self.one.iter().zip(labels) {
            totals[label as usize] += u64::from(count);
        }
        let most_frequent = totals.iter().enumerate().rev().max_by_key(|&(_, count)| count);
        let constant = most_frequent.map_or(0, |(label, _)| label as u32);
        let long = self.long.iter_mut().map(|list| {
            list.sort_unstable();
            most_frequent_by_context(list, |symbol, rank| labels[symbol * most + rank])
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

/// From sorted (context, rank) words, the label of the most frequent rank of each context.
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

/// Predicts the label of an element from the last few symbols, its own included.
#[derive(Debug, Clone)]
pub struct NgramModel {
    vocab: usize,
    constant: u32,
    one: Vec<Option<u32>>,
    two: Vec<Option<u32>>,
    /// For each order from 3 on: contexts in ascending order, each with its label.
    long: Vec<Vec<(u64, u32)>>,
}

impl NgramModel {
    /// The most frequent label.
    pub fn constant(&self) -> u32 {
        self.constant
    }

    /// The label of the last of these symbols, by the longest suffix of at most `n` symbols that has been
    /// counted. Without any, the most frequent label.
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

    /// How many labels of a sequence are predicted correctly: entry 0 by the most frequent one, entry n by contexts of up
    /// to n symbols.
    pub fn correct<const N: usize>(&self, tokens: impl IntoIterator<Item = Token>) -> [u64; N] {
        let mut correct = [0; N];
        let mut context = 0;
        for Token { symbol, label } in tokens {
            context = append(context, symbol);
            let Some(label) = label else { continue };
            for (n, hits) in correct.iter_mut().enumerate() {
                *hits += u64::from(self.after(context, n) == label);
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

    /// Tokens of states without gaps.
    fn tokens(states: &[u16]) -> Vec<Token> {
        let grammar = grammar();
        let token = |&s: &u16| Token {
            symbol: grammar.symbols()[usize::from(s)],
            label: Some(grammar.ids()[usize::from(s)]),
        };
        states.iter().map(token).collect()
    }

    #[test]
    fn longest_counted_suffix_decides() {
        let grammar = grammar();
        let mut counts = NgramCounts::new(&grammar, Targets::Class, 3);
        counts.add(tokens(&[0, 1, 2, 3, 0, 2, 3]));
        let model = counts.finish();
        // A0 twice, A1 once; A1 after A0.
        assert_eq!(model.predict(&[1], 3), 1);
        assert_eq!(model.predict(&[1, 1], 3), 2);
        assert_eq!(model.predict(&[1, 1], 1), 1);
        // `B A` was never seen: back to `A`. A0, B and # occur twice each: the lowest class is the constant.
        assert_eq!(model.predict(&[2, 1], 3), 1);
        assert_eq!(model.predict(&[2, 1], 0), 0);
        assert_eq!(model.constant(), 0);
        assert_eq!(model.correct::<4>(tokens(&[0, 1, 2, 3])), [1, 3, 4, 4]);
    }

    #[test]
    fn sequence_begins_as_after_the_terminator() {
        let grammar = grammar();
        let mut counts = NgramCounts::new(&grammar, Targets::Class, 4);
        counts.add(tokens(&[0, 1, 1, 1]));
        let model = counts.finish();
        assert_eq!([1, 2, 3].map(|n| model.predict(&[1], n)), [2, 1, 1]);
        assert_eq!(model.predict(&[2, 0, 1], 2), 1);
        assert_eq!(model.predict(&[0, 1, 1], 4), 2);
    }

    #[test]
    fn parts_merge_to_the_whole() {
        let grammar = grammar();
        let sequences: [&[u16]; 3] = [&[0, 1, 2, 3, 0], &[0, 2, 3, 0, 1], &[1, 1, 1, 2, 2]];
        let mut whole = NgramCounts::new(&grammar, Targets::Class, 5);
        let parts = sequences.map(|states| {
            whole.add(tokens(states));
            let mut part = NgramCounts::new(&grammar, Targets::Class, 5);
            part.add(tokens(states));
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
        let mut counts = NgramCounts::new(&grammar, Targets::Class, 2);
        counts.add(tokens(&[2, 2, 3]));
        assert_eq!(counts.finish().predict(&[1], 2), 3);
    }

    /// The accuracy of each order by looking every context up in all of the training tokens.
    fn counted_directly(training: &[Vec<Token>], test: &[Token], most: usize) -> Vec<u64> {
        let suffix = |tokens: &[Token], at: usize, n: usize| -> Vec<u8> {
            let before = (at + 1).saturating_sub(n)..=at;
            let padding = vec![0; n.saturating_sub(at + 1)];
            padding
                .into_iter()
                .chain(tokens[before].iter().map(|token| token.symbol))
                .collect()
        };
        let vote = |matches: &dyn Fn(&[Token], usize) -> bool| -> Option<u32> {
            let mut votes = std::collections::BTreeMap::<u32, u32>::new();
            for tokens in training {
                for (at, token) in tokens.iter().enumerate() {
                    if let Some(label) = token.label.filter(|_| matches(tokens, at)) {
                        *votes.entry(label).or_default() += 1;
                    }
                }
            }
            // The last maximum of the reversed votes is the lowest label.
            votes
                .into_iter()
                .rev()
                .max_by_key(|&(_, votes)| votes)
                .map(|(label, _)| label)
        };
        let mut correct = vec![0; most + 1];
        for (at, token) in test.iter().enumerate() {
            let Some(label) = token.label else { continue };
            for (n, hits) in correct.iter_mut().enumerate() {
                let found = (1..=n).rev().find_map(|m| {
                    let wanted = suffix(test, at, m);
                    vote(&|tokens, at| suffix(tokens, at, m) == wanted)
                });
                let found = found.or_else(|| vote(&|_, _| true));
                *hits += u64::from(found == Some(label));
            }
        }
        correct
    }

    #[test]
    fn baselines_are_those_of_a_direct_count() {
        use crate::tasks::data::tests::{grammar, spec};
        use crate::tasks::{DataSet, DataSpec, Gap, Split, Splits};
        let plain = spec(Splits::Disjoint);
        let specs = [
            plain.clone(),
            DataSpec {
                nongrammatical: true,
                gap_prob: 0.4,
                gap: Gap::Uniform([0.1, 0.2]),
                test_gap: Gap::Uniform([0.1, 0.2]).into(),
                ..plain.clone()
            },
            DataSpec {
                targets: Targets::Next,
                ..plain.clone()
            },
            DataSpec {
                targets: Targets::Next,
                splits: Splits::Reference,
                ..plain
            },
        ];
        for spec in specs {
            let data = DataSet::new(grammar(), spec.clone(), 2).unwrap();
            let tokens = |split, idx| -> Vec<Token> { data.sample(split, idx).tokens().collect() };
            let training: Vec<Vec<Token>> = (0..25).map(|idx| tokens(Split::Train, idx)).collect();
            let mut counts = NgramCounts::new(data.grammar(), spec.targets, 4);
            training
                .iter()
                .for_each(|tokens| counts.add(tokens.iter().copied()));
            let model = counts.finish();
            for idx in 30..33 {
                let test = tokens(Split::Test, idx);
                let found: [u64; 5] = model.correct(test.iter().copied());
                assert_eq!(found.to_vec(), counted_directly(&training, &test, 4), "{spec:?}");
            }
        }
    }
}

//! What an accuracy is made of: by place in the string, symbol, distance to the last symbol that tells its state, and gap;
//! and what is taken for what.

use super::evaluate::{Evaluator, GoOn};
use super::executor::Executor;
use crate::error::Result;
use crate::tasks::{Batch, DataSet, Grammar, IGNORE, Split, Targets};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Pairs of classes that are kept of all that are confused: the most frequent ones.
const PAIRS: usize = 100;

/// The elements that have something in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Slice {
    /// What they have in common: a number whose meaning is the list's.
    pub at: u32,
    /// How many there are.
    pub elements: u64,
    /// How many of them were told right.
    pub correct: u64,
}

impl Slice {
    /// Share of the elements that were told right.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.elements.max(1) as f64
    }
}

/// How often one class was taken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confused {
    /// The right class.
    pub class: u32,
    /// What was answered.
    pub answer: u32,
    /// How often.
    pub elements: u64,
}

/// The accuracy on a set of samples, taken apart. Lists are ascending and leave out what does not occur.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Explained {
    /// By place in the string, from 1 on; the terminator is its last.
    pub by_position: Vec<Slice>,
    /// By the symbol that is shown.
    pub by_symbol: Vec<Slice>,
    /// By the number of symbols since the last one that only one state has (0: this one), or since the string began.
    pub by_distance: Vec<Slice>,
    /// By the time steps of the gap that follows.
    pub by_gap: Vec<Slice>,
    /// Row: the symbol of the right state; column: that of the answer; value: elements.
    pub confusion: Vec<Vec<u64>>,
    /// The pairs of states that are confused most often, the most frequent first.
    pub confused: Vec<Confused>,
}

/// Takes the accuracy on a split apart, with the parameters that are on the device. `None` if it was not to go on.
///
/// # Errors
/// Those of [`Evaluator::predictions`].
pub fn explain(
    evaluator: &mut Evaluator,
    executor: &mut Executor,
    data: &Arc<DataSet>,
    split: Split,
    go_on: &mut GoOn<'_>,
) -> Result<Option<Explained>> {
    let mut sums = Sums::new(data.grammar(), data.spec().targets);
    let done = evaluator.predictions(executor, data, split, go_on, |batch, answers| {
        sums.add(batch, answers);
    })?;
    Ok(done.then(|| sums.finish()))
}

type BySlice = BTreeMap<u32, (u64, u64)>;

struct Sums {
    /// Symbol of each class: of the state, or, where the next symbol is asked for, itself.
    symbol_of: Vec<u32>,
    /// Whether only one state has the symbol.
    telling: Vec<bool>,
    terminator: u32,
    position: BySlice,
    symbol: BySlice,
    distance: BySlice,
    gap: BySlice,
    confusion: Vec<Vec<u64>>,
    confused: HashMap<(u32, u32), u64>,
}

impl Sums {
    fn new(grammar: &Grammar, targets: Targets) -> Self {
        let vocab = grammar.vocab();
        let mut symbol_of = vec![0; grammar.classes()];
        let mut states = vec![0; vocab];
        for (&id, &symbol) in grammar.ids().iter().zip(grammar.symbols()) {
            symbol_of[id as usize] = u32::from(symbol);
            states[usize::from(symbol)] += 1;
        }
        if targets == Targets::Next {
            symbol_of = (0..vocab as u32).collect();
        }
        Self {
            symbol_of,
            telling: states.iter().map(|&n| n == 1).collect(),
            terminator: u32::from(grammar.symbols()[usize::from(grammar.terminator())]),
            position: BySlice::new(),
            symbol: BySlice::new(),
            distance: BySlice::new(),
            gap: BySlice::new(),
            confusion: vec![vec![0; vocab]; vocab],
            confused: HashMap::new(),
        }
    }

    /// `answers` has a class for each element, \[B, E\].
    fn add(&mut self, batch: &Batch, answers: &[u32]) {
        for row in 0..batch.b {
            let (mut position, mut distance) = (0, 0);
            for element in 0..batch.elements {
                let at = row * batch.elements + element;
                let ([_, steps], class) = (batch.windows[at], batch.window_labels[at]);
                if steps == 0 || class == IGNORE {
                    continue;
                }
                let symbol = batch.symbols[at];
                let answer = answers[at];
                position += 1;
                distance += 1;
                if self.telling[symbol as usize] {
                    distance = 0;
                }
                let right = u64::from(answer == class);
                for (sums, key) in [
                    (&mut self.position, position),
                    (&mut self.symbol, symbol),
                    (&mut self.distance, distance),
                    (&mut self.gap, steps - 1),
                ] {
                    let (elements, correct) = sums.entry(key).or_default();
                    *elements += 1;
                    *correct += right;
                }
                let [from, to] = [class, answer].map(|class| self.symbol_of[class as usize] as usize);
                self.confusion[from][to] += 1;
                if answer != class {
                    *self.confused.entry((class, answer)).or_default() += 1;
                }
                if symbol == self.terminator {
                    (position, distance) = (0, 0);
                }
            }
        }
    }

    fn finish(self) -> Explained {
        let slices = |sums: BySlice| {
            let slice = |(at, (elements, correct))| Slice {
                at,
                elements,
                correct,
            };
            sums.into_iter().map(slice).collect()
        };
        let pair = |((class, answer), elements)| Confused {
            class,
            answer,
            elements,
        };
        let mut confused: Vec<Confused> = self.confused.into_iter().map(pair).collect();
        confused.sort_by_key(|c| (std::cmp::Reverse(c.elements), c.class, c.answer));
        confused.truncate(PAIRS);
        Explained {
            by_position: slices(self.position),
            by_symbol: slices(self.symbol),
            by_distance: slices(self.distance),
            by_gap: slices(self.gap),
            confusion: self.confusion,
            confused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::GrammarSpec;

    fn slice(at: u32, elements: u64, correct: u64) -> Slice {
        Slice {
            at,
            elements,
            correct,
        }
    }

    /// Letters 0 (`#`) to 3, of which the last two stand for two states each.
    #[test]
    fn elements_are_counted_where_they_belong() {
        let spec = GrammarSpec {
            vocab: 4,
            ambiguities: 2,
            depth: 2,
            seed: 1,
        };
        let grammar = Grammar::generate(&spec).unwrap();
        let mut sums = Sums::new(&grammar, Targets::Class);
        assert_eq!(sums.telling.iter().filter(|t| **t).count(), 2);
        let end = sums.terminator;
        let telling = (0..4).find(|s| *s != end && sums.telling[*s as usize]).unwrap();
        let other = (0..4).find(|s| !sums.telling[*s as usize]).unwrap();
        let class_of = |symbol: u32| sums.symbol_of.iter().position(|s| *s == symbol).unwrap() as u32;
        // other other # | telling other, the last with a gap of two steps, and one element of padding.
        let shown = [other, other, end, telling, other];
        let labels: Vec<u32> = shown.iter().map(|s| class_of(*s)).chain([IGNORE]).collect();
        let mut windows: Vec<[u32; 2]> = (0..5).map(|i| [2 * i, 2]).collect();
        windows[4] = [8, 3];
        windows.push([0, 0]);
        let batch = Batch {
            b: 1,
            t: 11,
            elements: 6,
            split: Split::Test,
            seed: 1,
            indices: vec![0],
            symbols: shown.iter().copied().chain([u32::MAX]).collect(),
            windows,
            window_labels: labels.clone(),
            step_symbols: Vec::new(),
            reference_noise: Vec::new(),
            tokens: 11,
        };
        let mut answers = labels;
        answers[1] = class_of(telling);
        sums.add(&batch, &answers);
        let found = sums.finish();
        assert_eq!(
            found.by_position,
            [slice(1, 2, 2), slice(2, 2, 1), slice(3, 1, 1)]
        );
        assert_eq!(
            found.by_distance,
            [slice(0, 2, 2), slice(1, 2, 2), slice(2, 1, 0)]
        );
        assert_eq!(found.by_gap, [slice(1, 4, 3), slice(2, 1, 1)]);
        assert_eq!(found.by_symbol.iter().map(|s| s.elements).sum::<u64>(), 5);
        assert_eq!(found.confusion[other as usize][telling as usize], 1);
        assert_eq!(found.confusion[other as usize][other as usize], 2);
        let [confused] = found.confused[..] else {
            panic!("{:?}", found.confused)
        };
        assert_eq!((confused.answer, confused.elements), (answers[1], 1));
    }
}

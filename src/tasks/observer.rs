//! The ideal observer: the best accuracy that any model can reach on plain gaps and additive noise.
//!
//! Given its initial state the automaton is deterministic, so the state is known exactly unless initial
//! states share a letter; then the first elements of a string are a guess. The observer keeps a weighted set
//! of candidate states, and weighs each by the probability that the string still ends in time, because
//! strings that do not are thrown away.

use super::grammar::Grammar;

/// `h_k(s)`: the probability of reaching `#` within k symbols from state s.
#[derive(Debug, Clone, PartialEq)]
pub struct Reach {
    states: usize,
    length: usize,
    /// `[length + 1, states]`
    h: Vec<f64>,
}

impl Reach {
    /// For strings of at most `length` entries.
    pub fn new(grammar: &Grammar, length: usize) -> Self {
        let states = grammar.classes();
        let terminator = usize::from(grammar.terminator());
        let mut h = vec![0.0; (length + 1) * states];
        h[terminator] = 1.0;
        for k in 1..=length {
            let (done, open) = h.split_at_mut(k * states);
            let previous = &done[(k - 1) * states..];
            for s in 0..states {
                let edges = grammar
                    .successors(s as u16)
                    .iter()
                    .zip(grammar.probabilities(s as u16));
                open[s] = edges.map(|(&t, &p)| p * previous[usize::from(t)]).sum();
            }
            open[terminator] = 1.0;
        }
        Self { states, length, h }
    }

    /// `h_k(state)`, for `k` up to the length.
    pub fn within(&self, k: usize, state: u16) -> f64 {
        self.h[k * self.states + usize::from(state)]
    }

    /// The share of all started strings that end within the length.
    pub fn accepted(&self, grammar: &Grammar) -> f64 {
        let initial = grammar.initial();
        let sum: f64 = initial.iter().map(|&s| self.within(self.length - 1, s)).sum();
        sum / initial.len() as f64
    }
}

/// Follows sequences of one grammar.
#[derive(Debug, Clone)]
pub struct Observer<'a> {
    grammar: &'a Grammar,
    reach: &'a Reach,
    candidates: Vec<(u16, f64)>,
    next: Vec<(u16, f64)>,
}

impl<'a> Observer<'a> {
    /// An observer; `reach` is that of the same grammar at the length of the sequences.
    pub fn new(grammar: &'a Grammar, reach: &'a Reach) -> Self {
        Self {
            grammar,
            reach,
            candidates: Vec::new(),
            next: Vec::new(),
        }
    }

    /// How many elements of a sequence, given by the positions of its true states, the observer names
    /// correctly from the symbols alone. Ties go to the lowest class.
    pub fn correct(&mut self, states: &[u16]) -> usize {
        let mut entries = 0;
        let mut correct = 0;
        for &state in states {
            let symbol = self.grammar.symbols()[usize::from(state)];
            if entries == 0 {
                self.restart(symbol);
            } else {
                self.advance(symbol);
            }
            entries += 1;
            correct += usize::from(self.answer(entries) == Some(state));
            if state == self.grammar.terminator() {
                entries = 0;
            }
        }
        correct
    }

    fn restart(&mut self, symbol: u8) {
        let grammar = self.grammar;
        self.candidates.clear();
        let starts = grammar
            .initial()
            .iter()
            .filter(|&&s| grammar.symbols()[usize::from(s)] == symbol);
        self.candidates.extend(starts.map(|&s| (s, 1.0)));
    }

    /// Moves every candidate along its edges with this symbol; those that meet merge. Weights keep the sum 1,
    /// so that long strings do not underflow.
    fn advance(&mut self, symbol: u8) {
        self.next.clear();
        for &(state, weight) in &self.candidates {
            let edges = self
                .grammar
                .successors(state)
                .iter()
                .zip(self.grammar.probabilities(state));
            for (&target, &probability) in edges {
                if self.grammar.symbols()[usize::from(target)] != symbol {
                    continue;
                }
                let moved = weight * probability;
                match self.next.iter_mut().find(|(state, _)| *state == target) {
                    Some((_, sum)) => *sum += moved,
                    None => self.next.push((target, moved)),
                }
            }
        }
        let sum: f64 = self.next.iter().map(|&(_, weight)| weight).sum();
        for (_, weight) in &mut self.next {
            *weight /= sum;
        }
        std::mem::swap(&mut self.candidates, &mut self.next);
    }

    /// The most probable state after so many entries of the string.
    fn answer(&self, entries: usize) -> Option<u16> {
        let left = self.reach.length - entries;
        let posterior = |&(state, weight): &(u16, f64)| {
            (
                weight * self.reach.within(left, state),
                std::cmp::Reverse(self.grammar.ids()[usize::from(state)]),
            )
        };
        let best = self.candidates.iter().max_by(|a, b| {
            posterior(a)
                .partial_cmp(&posterior(b))
                .expect("products of finite probabilities compare")
        });
        best.map(|&(state, _)| state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::GrammarSpec;

    fn generate(vocab: u32, ambiguities: u32, depth: u32, seed: u64) -> Grammar {
        Grammar::generate(&GrammarSpec {
            vocab,
            ambiguities,
            depth,
            seed,
        })
        .unwrap()
    }

    #[test]
    fn accepted_shares_of_the_specification() {
        for (letters, seed, percent) in [
            (20, 1, 28.0),
            (20, 2, 20.9),
            (24, 4, 17.6),
            (40, 1, 14.8),
            (40, 4, 9.5),
        ] {
            let grammar = generate(letters + 1, letters, letters, seed);
            let found = 100.0 * Reach::new(&grammar, 200).accepted(&grammar);
            // Printed there with one decimal, and measured on strings rather than computed.
            assert!(
                (found - percent).abs() < 0.4,
                "A = {letters}, seed {seed}: {found} against {percent}"
            );
        }
    }

    #[test]
    fn guesses_by_the_chance_to_end_in_time() {
        // Two starts with the letter A: one ends at once, one after a B or, rarely, at once.
        let text = r##"{"states": ["A0", "A1", "B", "#"], "ids": [1, 2, 3, 0], "initial": [0, 1],
            "transitions": [[0, 3, 1.0], [1, 2, 0.9], [1, 3, 0.1], [2, 3, 1.0]]}"##;
        let grammar = Grammar::from_json(text, "g.json").unwrap();
        // In two entries A1 rarely ends, so a lone A is A0.
        let reach = Reach::new(&grammar, 2);
        assert!((reach.accepted(&grammar) - 0.55).abs() < 1e-12);
        let mut observer = Observer::new(&grammar, &reach);
        assert_eq!(observer.correct(&[0, 3]), 2);
        assert_eq!(observer.correct(&[1, 3]), 1);
        // In three both always end; the tie goes to the lowest class, and B tells which it was.
        let reach = Reach::new(&grammar, 3);
        let mut observer = Observer::new(&grammar, &reach);
        assert_eq!(observer.correct(&[0, 3, 0]), 3);
        assert_eq!(observer.correct(&[1, 2, 3]), 2);
    }

    #[test]
    fn long_strings_do_not_underflow() {
        let text = r##"{"states": ["A0", "A1", "B0", "B1", "#"], "ids": [1, 2, 3, 4, 0], "initial": [0, 1],
            "transitions": [[0, 0, 0.001], [0, 4, 0.998], [0, 2, 0.001],
            [1, 1, 0.001], [1, 4, 0.998], [1, 3, 0.001], [2, 4, 1], [3, 4, 1]]}"##;
        let grammar = Grammar::from_json(text, "g.json").unwrap();
        let reach = Reach::new(&grammar, 1000);
        let mut states = vec![0u16; 1000];
        states[999] = 4;
        assert_eq!(Observer::new(&grammar, &reach).correct(&states), 1000);
    }
}

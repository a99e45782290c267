//! The chance that a string of a grammar ends in time.

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

    /// Most entries of a string.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The share of all started strings that end within the length.
    pub fn accepted(&self, grammar: &Grammar) -> f64 {
        let initial = grammar.initial();
        let sum: f64 = initial.iter().map(|&s| self.within(self.length - 1, s)).sum();
        sum / initial.len() as f64
    }
}

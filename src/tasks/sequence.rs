//! Strings from a grammar, strung together to sequences of fixed length.
//!
//! A string starts at a random initial state and walks to `#`; one with more entries than the sequence is
//! long is thrown away and begun anew on the same stream. At the paper's largest grammars 9 to 16 % of the
//! strings are kept, so a sequence of 200 costs about 4,000 draws: this loop is what making data costs.

use super::grammar::Grammar;
use super::streams::Pcg64;
use crate::error::UserError;

/// How many strings in a row may be thrown away before the grammar counts as one that makes none short
/// enough.
pub const MAX_FAILURES: u32 = 10_000;

/// Draws sequences of one length. Holds the scratch memory; make one for each thread.
#[derive(Debug, Clone)]
pub struct Sampler {
    /// As many entries as a string may have.
    string: Vec<u16>,
}

impl Sampler {
    /// For sequences of `length` elements, which is also the most entries a string may have, `#` included.
    pub fn new(length: usize) -> Self {
        Self {
            string: vec![0; length],
        }
    }

    /// Draws one sequence: writes the positions of its states into `states`. Usually these are as many elements as a
    /// string may have.
    ///
    /// The last string is cut, but was accepted as a whole.
    ///
    /// # Errors
    /// [`UserError::Value`] after 10,000 strings in a row that were too long.
    pub fn draw(&mut self, grammar: &Grammar, rng: &mut Pcg64, states: &mut [u16]) -> Result<(), UserError> {
        let mut filled = 0;
        while filled < states.len() {
            let string = self.accepted(grammar, rng)?;
            let taken = string.len().min(states.len() - filled);
            states[filled..filled + taken].copy_from_slice(&string[..taken]);
            filled += taken;
        }
        Ok(())
    }

    /// The next string that is short enough.
    fn accepted(&mut self, grammar: &Grammar, rng: &mut Pcg64) -> Result<&[u16], UserError> {
        for _ in 0..MAX_FAILURES {
            if let Some(entries) = walk(grammar, rng, &mut self.string) {
                return Ok(&self.string[..entries]);
            }
        }
        Err(too_long(self.string.len()))
    }
}

/// The refusal of a sequence length within which a grammar's strings do not end.
pub(super) fn too_long(length: usize) -> UserError {
    UserError::Value {
        place: "task".to_owned(),
        field: "data.length".to_owned(),
        found: length.to_string(),
        allowed: "a length within which the grammar's strings end often enough".to_owned(),
    }
}

/// Walks from an initial state to `#`. Returns the number of entries, or `None` if they do not fit into `string`;
/// the entry that does not fit has been drawn.
#[inline]
fn walk(grammar: &Grammar, rng: &mut Pcg64, string: &mut [u16]) -> Option<usize> {
    let (nodes, targets, cumulative) = grammar.tables();
    let initial = grammar.initial();
    let terminator = grammar.terminator();
    let mut state = initial[rng.below(initial.len() as u32) as usize];
    for (entries, place) in string.iter_mut().enumerate() {
        *place = state;
        if state == terminator {
            return Some(entries + 1);
        }
        let node = nodes[usize::from(state)];
        let first = node.first as usize;
        // A state with one successor takes it without a draw.
        let mut edge = first;
        if node.degree > 1 {
            let (word, drawn) = rng.word_and_random();
            edge += ((u128::from(word) * u128::from(node.degree)) >> 64) as usize;
            // The guess is right for equal probabilities, up to the rounding of the running sums.
            while edge > first && cumulative[edge - 1] > drawn {
                edge -= 1;
            }
            let end = first + node.degree as usize - 1;
            while edge < end && cumulative[edge] <= drawn {
                edge += 1;
            }
        }
        state = targets[edge];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::GrammarSpec;

    #[test]
    fn example_of_the_specification() {
        let grammar = Grammar::generate(&GrammarSpec {
            vocab: 5,
            ambiguities: 3,
            depth: 3,
            seed: 1,
        })
        .unwrap();
        let mut states = [0u16; 20];
        Sampler::new(20)
            .draw(&grammar, &mut Pcg64::new(1), &mut states)
            .unwrap();
        let symbols = states.map(|s| grammar.symbols()[usize::from(s)]);
        let targets = states.map(|s| grammar.ids()[usize::from(s)]);
        assert_eq!(
            symbols,
            [3, 1, 1, 2, 4, 0, 2, 4, 0, 2, 2, 1, 3, 2, 1, 3, 1, 3, 0, 2]
        );
        assert_eq!(
            targets,
            [8, 1, 1, 5, 10, 0, 5, 10, 0, 4, 6, 2, 9, 6, 2, 9, 2, 9, 0, 4]
        );
    }

    #[test]
    fn unequal_probabilities_are_followed() {
        let text = r##"{"states": ["A", "B", "C", "#"], "ids": [1, 2, 3, 0], "initial": [0],
            "transitions": [[0, 1, 0.1], [0, 2, 0.9], [1, 3, 1], [2, 3, 1]]}"##;
        let grammar = Grammar::from_json(text, "g.json").unwrap();
        let mut states = vec![0u16; 3];
        let (mut sampler, mut rng, mut rare) = (Sampler::new(3), Pcg64::new(5), 0);
        for _ in 0..10_000 {
            sampler.draw(&grammar, &mut rng, &mut states).unwrap();
            assert_eq!((states[0], states[2]), (0, 3));
            rare += u32::from(states[1] == 1);
        }
        // Binomial: mean 1000, standard deviation 30.
        assert!((880..1120).contains(&rare), "{rare}");
    }

    #[test]
    fn strings_that_never_fit_are_an_error() {
        let text = r##"{"states": ["A", "B", "#"], "ids": [1, 2, 0], "initial": [0],
            "transitions": [[0, 1, 1], [1, 2, 1]]}"##;
        let grammar = Grammar::from_json(text, "g.json").unwrap();
        let error = Sampler::new(2)
            .draw(&grammar, &mut Pcg64::new(1), &mut [0; 2])
            .unwrap_err();
        assert!(matches!(error, UserError::Value { field, .. } if field == "data.length"));
        let mut states = [0; 3];
        Sampler::new(3)
            .draw(&grammar, &mut Pcg64::new(1), &mut states)
            .unwrap();
        assert_eq!(states, [0, 1, 2]);
    }
}

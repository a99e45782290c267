//! Grammars from a seed, as the reference makes them.

use super::{Grammar, Origin, Parts, TERMINATOR, letter, letters, lost};
use crate::error::UserError;
use crate::tasks::streams::{Mt19937, Pcg64};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

const INITIAL_STATES: usize = 4;
const DENSITY: f64 = 0.4;
const MAX_ATTEMPTS: u32 = 100_000;

/// `[grammar]`: what a grammar is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrammarSpec {
    /// Number of symbols, the terminator included: [`GrammarSpec::VOCABS`].
    pub vocab: u32,
    /// Number of letters that stand for several states each: up to `vocab` - 1.
    pub ambiguities: u32,
    /// Number of states of an ambiguous letter. It divides the density of edges even where no letter is
    /// ambiguous. [`GrammarSpec::DEPTHS`].
    pub depth: u32,
    /// Seed of the random streams.
    pub seed: u64,
}

impl GrammarSpec {
    /// Numbers of symbols that a grammar may have.
    pub const VOCABS: RangeInclusive<u32> = 2..=53;
    /// Numbers of states that an ambiguous letter may have.
    pub const DEPTHS: RangeInclusive<u32> = 1..=100;

    /// Checks every field against its limit, naming fields as `grammar.depth`.
    ///
    /// # Errors
    /// As [`Self::validate_as`].
    pub fn validate(&self) -> Result<(), UserError> {
        self.validate_as("task", "grammar.")
    }

    /// Checks every field against its limit. `place` is where the values come from, `prefix` what stands
    /// before a field's name there (`grammar.` in a file, `--` on the command line).
    ///
    /// # Errors
    /// [`UserError::Value`] for the first field outside its limits, or for a shape that cannot give a valid
    /// grammar.
    pub fn validate_as(&self, place: &str, prefix: &str) -> Result<(), UserError> {
        let refuse = |field: &str, found: String, allowed: String| {
            let (place, field) = (place.to_owned(), format!("{prefix}{field}"));
            Err(UserError::Value {
                place,
                field,
                found,
                allowed,
            })
        };
        let range = |range: RangeInclusive<u32>| format!("{} to {}", range.start(), range.end());
        if !Self::VOCABS.contains(&self.vocab) {
            return refuse("vocab", self.vocab.to_string(), range(Self::VOCABS));
        }
        if self.ambiguities >= self.vocab {
            let allowed = format!("0 to vocab - 1 = {}", self.vocab - 1);
            return refuse("ambiguities", self.ambiguities.to_string(), allowed);
        }
        if !Self::DEPTHS.contains(&self.depth) {
            return refuse("depth", self.depth.to_string(), range(Self::DEPTHS));
        }
        if self.states() <= INITIAL_STATES {
            let found = format!(
                "{} (with these ambiguities and depth: {} states)",
                self.vocab,
                self.states()
            );
            return refuse(
                "vocab",
                found,
                "at least 4 states beside the terminator".to_owned(),
            );
        }
        if self.log_valid_bound() < -25.0 {
            let found = format!(
                "{} (with vocab {}, ambiguities {})",
                self.depth, self.vocab, self.ambiguities
            );
            let allowed =
                "a depth at which every state is likely to have a successor (fewer, or more ambiguities)";
            return refuse("depth", found, allowed.to_owned());
        }
        Ok(())
    }

    /// Number of states, which is the number of classes.
    pub fn states(&self) -> usize {
        (self.vocab - 1 - self.ambiguities + self.ambiguities * self.depth + 1) as usize
    }

    /// An upper bound of the logarithm of the probability that one attempt is valid: no state but `#` may be
    /// without a successor. At -25, all attempts together succeed less often than once in a million seeds.
    fn log_valid_bound(&self) -> f64 {
        let common = (1.0 - DENSITY).powi(self.ambiguities as i32);
        let rare = (1.0 - DENSITY / f64::from(self.depth)).powi((self.vocab - self.ambiguities) as i32);
        (self.states() - 1) as f64 * (-common * rare).ln_1p()
    }
}

impl Grammar {
    /// Makes the grammar of a specification, bit for bit the reference's.
    ///
    /// # Errors
    /// [`UserError::Value`] if the specification is outside its limits, or no attempt of 100,000 gives a
    /// valid grammar.
    pub fn generate(spec: &GrammarSpec) -> Result<Self, UserError> {
        spec.validate()?;
        let mut rng = Pcg64::new(u128::from(spec.seed));
        let python_seed = rng.below(100);
        let mut python = Mt19937::python(u128::from(python_seed));
        for attempts in 1..=MAX_ATTEMPTS {
            if let Some(attempt) = Attempt::draw(spec, &mut rng, &mut python) {
                return Ok(attempt.finish(Origin {
                    spec: spec.clone(),
                    attempts,
                    python_seed,
                }));
            }
        }
        Err(UserError::Value {
            place: "task".to_owned(),
            field: "grammar.seed".to_owned(),
            found: spec.seed.to_string(),
            allowed: format!(
                "a seed valid within {MAX_ATTEMPTS} attempts at vocab {}, ambiguities {}, depth {}",
                spec.vocab, spec.ambiguities, spec.depth
            ),
        })
    }
}

/// A state before it has a name: its symbol, and its index if the letter is ambiguous.
type Label = (u8, Option<u32>);

struct Attempt {
    labels: Vec<Label>,
    successors: Vec<Vec<u16>>,
    initial: Vec<u16>,
}

impl Attempt {
    /// One attempt. Both streams run on, whether it is valid or not.
    fn draw(spec: &GrammarSpec, rng: &mut Pcg64, python: &mut Mt19937) -> Option<Self> {
        let labels = state_list(spec, python);
        let states = labels.len();
        let terminator = states - 1;

        // Letters in alphabet order, then the terminator.
        let mut positions: Vec<Vec<u16>> = vec![Vec::new(); spec.vocab as usize];
        for (position, &(symbol, _)) in labels.iter().enumerate() {
            let column = if symbol == 0 {
                spec.vocab as usize - 1
            } else {
                usize::from(symbol) - 1
            };
            positions[column].push(position as u16);
        }

        let delta = DENSITY / f64::from(spec.depth);
        let mut successors = vec![Vec::new(); states];
        let mut order = Vec::new();
        for from in 0..states {
            for candidates in &positions {
                rng.permute(candidates.len(), &mut order);
                let drawn = rng.random();
                if drawn < candidates.len() as f64 * delta && from != terminator {
                    successors[from].push(candidates[order[0] as usize]);
                }
            }
            successors[from].sort_unstable();
        }

        let initial: Vec<u16> = rng
            .choice(states as u32, INITIAL_STATES as u32)
            .iter()
            .map(|&i| i as u16)
            .collect();
        let terminator = terminator as u16;
        let valid = !initial.contains(&terminator) && lost(terminator, states, |s| &successors[s]).is_none();
        valid.then_some(Self {
            labels,
            successors,
            initial,
        })
    }

    fn finish(self, origin: Origin) -> Grammar {
        let mut by_class: Vec<usize> = (0..self.labels.len()).collect();
        by_class.sort_by_key(|&position| self.labels[position]);
        let mut ids = vec![0; self.labels.len()];
        for (class, &position) in by_class.iter().enumerate() {
            ids[position] = class as u32;
        }
        let successors = self.successors.iter().map(|targets| {
            let probability = 1.0 / targets.len() as f64;
            targets.iter().map(|&target| (target, probability)).collect()
        });
        Grammar::from_parts(Parts {
            vocab: origin.spec.vocab,
            alphabet: letters(origin.spec.vocab),
            origin: Some(origin),
            names: self.labels.iter().map(|&label| name(label)).collect(),
            symbols: self.labels.iter().map(|&(symbol, _)| symbol).collect(),
            ids,
            initial: self.initial,
            successors: successors.collect(),
        })
    }
}

/// Unambiguous letters in order, then the copies of each ambiguous letter as sampled, then the terminator.
fn state_list(spec: &GrammarSpec, python: &mut Mt19937) -> Vec<Label> {
    let mut letters: Vec<u8> = (1..spec.vocab as u8).collect();
    let sampled = match spec.ambiguities {
        0 => Vec::new(),
        count => python.python_sample(spec.vocab - 1, count),
    };
    letters.retain(|&symbol| !sampled.contains(&(u32::from(symbol) - 1)));
    let mut labels: Vec<Label> = letters.into_iter().map(|symbol| (symbol, None)).collect();
    for &index in &sampled {
        labels.extend((0..spec.depth).map(|copy| (index as u8 + 1, Some(copy))));
    }
    labels.push((0, None));
    labels
}

fn name((symbol, index): Label) -> String {
    match (symbol, index) {
        (0, _) => TERMINATOR.to_owned(),
        (symbol, None) => letter(symbol).to_string(),
        (symbol, Some(index)) => format!("{}{index}", letter(symbol)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(vocab: u32, ambiguities: u32, depth: u32, seed: u64) -> GrammarSpec {
        GrammarSpec {
            vocab,
            ambiguities,
            depth,
            seed,
        }
    }

    #[test]
    fn example_of_the_specification() {
        let g = Grammar::generate(&spec(5, 3, 3, 1)).unwrap();
        let origin = g.origin().unwrap();
        assert_eq!((origin.python_seed, origin.attempts), (47, 13));
        assert_eq!(
            g.names(),
            ["D", "B0", "B1", "B2", "C0", "C1", "C2", "A0", "A1", "A2", "#"]
        );
        assert_eq!(g.ids(), [10, 4, 5, 6, 7, 8, 9, 1, 2, 3, 0]);
        assert_eq!(g.initial(), [9, 5, 2, 1]);
        let successors: [&[u16]; 11] = [
            &[10],
            &[3],
            &[0],
            &[8],
            &[7, 10],
            &[7],
            &[3, 8, 10],
            &[2, 5, 7],
            &[6],
            &[10],
            &[],
        ];
        for (state, expected) in successors.into_iter().enumerate() {
            assert_eq!(g.successors(state as u16), expected, "state {state}");
        }
    }

    #[test]
    fn depth_divides_the_density_without_ambiguities() {
        let g = Grammar::generate(&spec(9, 0, 1, 1)).unwrap();
        assert_eq!(g.classes(), 9);
        assert_eq!(g.names()[..2], ["A", "B"]);
    }

    #[test]
    fn limits_are_refused_by_name() {
        for (bad, field) in [
            (spec(54, 3, 3, 1), "grammar.vocab"),
            (spec(1, 0, 3, 1), "grammar.vocab"),
            (spec(5, 5, 3, 1), "grammar.ambiguities"),
            (spec(5, 3, 0, 1), "grammar.depth"),
            (spec(5, 3, 101, 1), "grammar.depth"),
            (spec(4, 0, 1, 1), "grammar.vocab"),
            (spec(53, 1, 100, 1), "grammar.depth"),
        ] {
            match Grammar::generate(&bad) {
                Err(UserError::Value { field: found, .. }) => assert_eq!(found, field, "{bad:?}"),
                other => panic!("{bad:?} gave {other:?}"),
            }
        }
        let message = spec(41, 41, 40, 1)
            .validate_as("command line", "--")
            .unwrap_err()
            .to_string();
        assert_eq!(
            message,
            "command line: --ambiguities = 41: allowed: 0 to vocab - 1 = 40"
        );
    }

    #[test]
    fn extreme_shapes_within_the_limits_work() {
        for (vocab, ambiguities, depth) in [(5, 0, 1), (5, 4, 1), (53, 52, 100), (53, 52, 1), (6, 1, 2)] {
            let spec = spec(vocab, ambiguities, depth, 3);
            let g = Grammar::generate(&spec).unwrap();
            assert_eq!(g.classes(), spec.states());
        }
    }
}

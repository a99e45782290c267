//! Measures of a grammar's complexity, from the automaton and from sequences.

use super::grammar::Grammar;
use super::sequence::Sampler;
use super::streams::Pcg64;
use crate::error::UserError;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use std::collections::HashMap;
use std::io::Write;

/// Longest blocks that are counted.
const LONGEST_BLOCK: usize = 6;
/// A block entropy is trusted while there are this many times more blocks than different ones.
const ENOUGH: f64 = 10.0;

/// What is measured. Entropies of sequences are in bits, with the Miller-Madow term.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measures {
    /// Symbols, the terminator included.
    pub vocab: usize,
    /// States, which are the classes.
    pub classes: usize,
    /// Transitions: the rules of the grammar.
    pub rules: usize,
    /// Mean number of successors of the states but `#`.
    pub branching_factor: f64,
    /// Logarithm of the growth rate of the number of admissible sequences, in nats.
    pub topological_entropy: f64,
    /// Sequences that were drawn, and elements of each.
    pub sequences: u64,
    /// Elements of a sequence.
    pub length: usize,
    /// Share of each symbol, by id.
    pub symbol_shares: Vec<f64>,
    /// Entropy of single symbols.
    pub symbol_entropy: f64,
    /// Entropy of blocks of 1, 2, .. symbols, as far as there are enough of them.
    pub block_entropies: Vec<f64>,
    /// What one more symbol adds to the longest block.
    pub entropy_rate: f64,
    /// Compressed bytes a symbol, one byte a symbol before.
    pub gzip_ratio: f64,
}

impl Grammar {
    /// Measures of the grammar and of so many sequences by the reference's streams.
    ///
    /// # Errors
    /// [`UserError::Value`] if the grammar's strings do not end within the length.
    pub fn measures(&self, seed: u64, sequences: u64, length: usize) -> Result<Measures, UserError> {
        let mut sampler = Sampler::new(length);
        let mut states = vec![0; length];
        let mut samples: Vec<Vec<u8>> = Vec::new();
        for idx in 0..sequences {
            let mut rng = Pcg64::new(u128::from(seed) * u128::from(idx));
            sampler.draw(self, &mut rng, &mut states)?;
            samples.push(states.iter().map(|&s| self.symbols()[usize::from(s)]).collect());
        }
        let blocks = block_entropies(&samples);
        let all = samples.concat();
        let mut shares = vec![0.0; self.vocab()];
        for &symbol in &all {
            shares[usize::from(symbol)] += 1.0 / all.len() as f64;
        }
        let rules = self.transitions().count();
        Ok(Measures {
            vocab: self.vocab(),
            classes: self.classes(),
            rules,
            branching_factor: rules as f64 / (self.classes() - 1) as f64,
            topological_entropy: self.topological_entropy(),
            sequences,
            length,
            symbol_shares: shares,
            symbol_entropy: blocks.first().copied().unwrap_or(0.0),
            entropy_rate: match blocks.as_slice() {
                [.., before, last] => last - before,
                [only] => *only,
                [] => 0.0,
            },
            block_entropies: blocks,
            gzip_ratio: gzip_bytes(&all) as f64 / all.len().max(1) as f64,
        })
    }
}

/// The entropies of blocks of 1, 2, .. symbols within sequences.
fn block_entropies(samples: &[Vec<u8>]) -> Vec<f64> {
    let mut entropies = Vec::new();
    for len in 1..=LONGEST_BLOCK {
        let mut counts: HashMap<&[u8], u64> = HashMap::new();
        for block in samples.iter().flat_map(|sample| sample.windows(len)) {
            *counts.entry(block).or_default() += 1;
        }
        let total = counts.values().sum::<u64>() as f64;
        let different = counts.len() as f64;
        if total < ENOUGH * different && len > 1 || total == 0.0 {
            break;
        }
        let mut counts: Vec<u64> = counts.into_values().collect();
        // In one order, so that the sum is the same each time.
        counts.sort_unstable();
        let plain: f64 = counts
            .iter()
            .map(|&n| n as f64 / total)
            .map(|p| -p * p.log2())
            .sum();
        entropies.push(plain + (different - 1.0) / (2.0 * total * std::f64::consts::LN_2));
    }
    entropies
}

fn gzip_bytes(symbols: &[u8]) -> usize {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let written = encoder.write_all(symbols).and_then(|()| encoder.finish());
    written.map_or(0, |bytes| bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::GrammarSpec;

    #[test]
    fn a_cycle_has_no_entropy_beyond_its_symbols() {
        let text = r##"{"states": ["A", "B", "C", "#"], "ids": [1, 2, 3, 0], "initial": [0],
            "transitions": [[0, 1, 1], [1, 2, 1], [2, 3, 1]]}"##;
        let grammar = Grammar::from_json(text, "g.json").unwrap();
        let measures = grammar.measures(1, 100, 20).unwrap();
        assert_eq!((measures.rules, measures.branching_factor), (3, 1.0));
        assert_eq!(measures.symbol_shares, [measures.symbol_shares[0]; 4]);
        assert!(
            (measures.symbol_entropy - 2.0).abs() < 0.02,
            "{}",
            measures.symbol_entropy
        );
        assert!(measures.entropy_rate.abs() < 0.02, "{}", measures.entropy_rate);
        assert!(measures.topological_entropy.abs() < 1e-9 && measures.gzip_ratio < 0.1);
    }

    #[test]
    fn a_block_entropy_is_that_of_its_counts() {
        let samples = vec![vec![0, 1, 0, 1], vec![0, 1, 1, 0]];
        let entropies = block_entropies(&samples);
        // Four of each of two symbols; of pairs there are too few to trust.
        assert_eq!(entropies, [1.0 + 1.0 / (16.0 * std::f64::consts::LN_2)]);
    }

    #[test]
    fn the_papers_grammar_is_near_its_mean_branching() {
        let spec = GrammarSpec {
            vocab: 21,
            ambiguities: 20,
            depth: 20,
            seed: 1,
        };
        let grammar = Grammar::generate(&spec).unwrap();
        let measures = grammar.measures(1, 300, 200).unwrap();
        // Each of 20 letters follows with probability 0.4.
        assert!(
            (measures.branching_factor - 8.0).abs() < 0.5,
            "{}",
            measures.branching_factor
        );
        assert!(measures.symbol_entropy < 21f64.log2() && measures.symbol_entropy > 4.0);
        assert!(measures.entropy_rate < measures.symbol_entropy && measures.gzip_ratio < 1.0);
    }
}

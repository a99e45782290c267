//! How far the probabilities that a model gives the next symbol are from the true ones (tasks.md 4).

use crate::tasks::{Batch, DataSet, Splits};
use rayon::prelude::*;

/// What the reference adds to every true probability before it compares.
const REFERENCE_ADDS: f64 = 1e-6;

/// The true probabilities of the next symbol after each state of a grammar.
pub(super) struct Truth<'a> {
    data: &'a DataSet,
    /// By state, \[V\].
    next: Vec<Vec<f64>>,
}

impl<'a> Truth<'a> {
    /// Those that a data set's samples are judged by.
    pub(super) fn new(data: &'a DataSet) -> Self {
        let states = 0..data.grammar().symbols().len() as u16;
        let row = |state| {
            let mut row = data.next_probabilities(state);
            if data.spec().splits == Splits::Reference {
                let sum = row.iter().sum::<f64>() + REFERENCE_ADDS * row.len() as f64;
                row.iter_mut().for_each(|p| *p = (*p + REFERENCE_ADDS) / sum);
            }
            row
        };
        Self {
            data,
            next: states.map(row).collect(),
        }
    }

    /// The sum over the time steps of a batch of KL(p || q), in nats: p the true probabilities, q those of the logits,
    /// \[B, T, K\] with T and K as given, of which the batch may have fewer.
    pub(super) fn divergence(&self, batch: &Batch, logits: &[f64], [t, k]: [usize; 2]) -> f64 {
        let samples = logits.par_chunks(t * k).zip(&batch.indices).enumerate();
        let sums: Vec<f64> = samples
            .map(|(row, (logits, &idx))| {
                let states = self.data.sample(batch.split, u64::from(idx)).states;
                let windows = &batch.windows[row * batch.elements..(row + 1) * batch.elements];
                let mut sum = 0.0;
                for (&[first, steps], &state) in windows.iter().zip(&states) {
                    let own = &logits[first as usize * k..(first + steps) as usize * k];
                    let truth = &self.next[usize::from(state)];
                    sum += own.chunks(k).map(|logits| divergence(truth, logits)).sum::<f64>();
                }
                sum
            })
            .collect();
        sums.iter().sum()
    }
}

/// KL(p || softmax of the logits); what the logits have beyond p has the probability 0 in it.
fn divergence(p: &[f64], logits: &[f64]) -> f64 {
    let most = logits.iter().copied().fold(f64::MIN, f64::max);
    let log_sum = most + logits.iter().map(|x| (x - most).exp()).sum::<f64>().ln();
    let term = |(p, x): (&f64, &f64)| {
        if *p > 0.0 {
            p * (p.ln() - (x - log_sum))
        } else {
            0.0
        }
    };
    p.iter().zip(logits).map(term).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::{DataSpec, Gap, Grammar, GrammarSpec, Split, Targets};
    use std::sync::Arc;

    fn data(splits: Splits) -> DataSet {
        let spec = GrammarSpec {
            vocab: 9,
            ambiguities: 6,
            depth: 4,
            seed: 2,
        };
        let spec_of_data = DataSpec {
            targets: Targets::Next,
            ..DataSpec::plain(20, splits, [30, 0, 8], Gap::Fixed(1))
        };
        DataSet::new(Arc::new(Grammar::generate(&spec).unwrap()), spec_of_data, 3).unwrap()
    }

    #[test]
    fn guessing_evenly_costs_the_logarithm_less_the_entropy() {
        let p = [0.5, 0.25, 0.25, 0.0];
        let entropy = 1.5 * std::f64::consts::LN_2;
        assert!((divergence(&p, &[7.0; 4]) - (4f64.ln() - entropy)).abs() < 1e-12);
        let own: Vec<f64> = p.iter().map(|p| f64::max(*p, 1e-300).ln()).collect();
        assert!(divergence(&p, &own).abs() < 1e-12);
        assert!((divergence(&p[..2], &own) - divergence(&[0.5, 0.25, 0.0], &own)).abs() < 1e-12);
    }

    /// By a sum over every step and symbol, the true state's transitions looked up one by one.
    #[test]
    fn a_batch_is_summed_over_its_steps() {
        for splits in [Splits::Disjoint, Splits::Reference] {
            let data = data(splits);
            let batch = data.batch(Split::Test, 2, 3);
            let (t, k) = (batch.t + 5, 9);
            let logits: Vec<f64> = (0..3 * t * k)
                .map(|i| f64::from((i * 37 % 101) as u32) / 40.0)
                .collect();
            let mut expected = 0.0;
            let grammar = data.grammar();
            for row in 0..3 {
                let states = data.sample(Split::Test, 2 + row as u64).states;
                for step in 0..batch.t {
                    let state = states[step / 2];
                    let mut p = [0.0; 9];
                    if state != grammar.terminator() {
                        for (to, q) in grammar.successors(state).iter().zip(grammar.probabilities(state)) {
                            p[usize::from(grammar.symbols()[usize::from(*to)])] += q;
                        }
                    } else if splits == Splits::Reference {
                        p[0] = 1.0;
                    } else {
                        for to in grammar.initial() {
                            p[usize::from(grammar.symbols()[usize::from(*to)])] += 0.25;
                        }
                    }
                    if splits == Splits::Reference {
                        p = p.map(|p| (p + 1e-6) / (1.0 + 9e-6));
                    }
                    let own = &logits[(row * t + step) * k..][..k];
                    let total: f64 = own.iter().map(|x| x.exp()).sum();
                    for (p, x) in p.iter().zip(own).filter(|(p, _)| **p > 0.0) {
                        expected += p * (p.ln() - (x.exp() / total).ln());
                    }
                }
            }
            let found = Truth::new(&data).divergence(&batch, &logits, [t, k]);
            assert!((found / expected - 1.0).abs() < 1e-12, "{found} {expected}");
        }
    }
}

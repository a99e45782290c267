//! The growth rate of the number of admissible sequences.

use super::Grammar;

impl Grammar {
    /// Topological entropy in nats: the logarithm of the largest eigenvalue of the automaton's binary
    /// adjacency matrix, with edges from `#` to each initial state.
    ///
    /// Power iteration on the matrix plus the identity, which has the same eigenvectors and cannot oscillate.
    pub fn topological_entropy(&self) -> f64 {
        const ITERATIONS: usize = 100_000;
        const RELATIVE_CHANGE: f64 = 1e-15;
        // Changes stay small for a while where the second eigenvalue is close, so several in a row are asked
        // for.
        const QUIET_ROUNDS: usize = 50;
        let states = self.classes();
        let mut v = vec![1.0 / states as f64; states];
        let mut next = vec![0.0; states];
        let (mut eigenvalue, mut quiet) = (0.0f64, 0);
        for _ in 0..ITERATIONS {
            for s in 0..states {
                let targets = if s == usize::from(self.terminator) {
                    &self.initial
                } else {
                    self.successors(s as u16)
                };
                next[s] = v[s] + targets.iter().map(|&t| v[usize::from(t)]).sum::<f64>();
            }
            let norm: f64 = next.iter().sum();
            for s in 0..states {
                v[s] = next[s] / norm;
            }
            quiet = if (norm - eigenvalue).abs() <= RELATIVE_CHANGE * norm {
                quiet + 1
            } else {
                0
            };
            eigenvalue = norm;
            if quiet == QUIET_ROUNDS {
                break;
            }
        }
        (eigenvalue - 1.0).ln()
    }
}

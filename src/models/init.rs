//! Initial parameters, from a counter-based generator: a function of seed and parameter name alone.

use crate::graph::{Graph, Init};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A whole parameter bank (models.md sections 1 and 3).
pub fn initial_parameters(graph: &Graph, seed: u64) -> Vec<f32> {
    let mut bank = vec![0.0; graph.bank_len()];
    for p in graph.params() {
        let info = graph.tensor(p.tensor);
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.update(info.name.as_bytes());
        let mut rng = ChaCha8Rng::from_seed(*hasher.finalize().as_bytes());
        let values = &mut bank[p.offset..p.offset + info.numel()];
        for (i, x) in values.iter_mut().enumerate() {
            *x = draw(p.init, i, &mut rng) as f32;
        }
    }
    bank
}

fn draw(init: Init, i: usize, rng: &mut ChaCha8Rng) -> f64 {
    let mut uniform = |lo: f64, hi: f64| lo + (hi - lo) * rng.random::<f64>();
    match init {
        Init::Constant(c) => c,
        Init::Uniform(r) => uniform(-r, r),
        Init::LogUniform(lo, hi) => uniform(lo, hi).ln(),
        Init::LogIndex(width) => ((i % width + 1) as f64).ln(),
        Init::StepBias => {
            let tau = uniform(1e-3f64.ln(), 1e-1f64.ln()).exp().max(1e-4);
            tau + (-(-tau).exp_m1()).ln()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_bias_is_the_inverse_of_softplus() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..1000 {
            let tau = draw(Init::StepBias, 0, &mut rng).exp().ln_1p();
            assert!((0.999e-3..=0.1001).contains(&tau), "{tau}");
        }
    }

    #[test]
    fn log_index_starts_again_in_every_row() {
        let mut g = Graph::new();
        g.param("A_log", &[2, 3], Init::LogIndex(3));
        let bank = initial_parameters(&g, 7);
        let row = [0.0, 2.0f32.ln(), 3.0f32.ln()];
        assert_eq!(bank[..6], [row, row].concat());
    }

    #[test]
    fn a_parameter_depends_on_seed_and_name_alone() {
        let build = |names: &[&str]| {
            let mut g = Graph::new();
            for name in names {
                g.param(name, &[5], Init::Uniform(0.5));
            }
            g
        };
        let (ab, b) = (
            initial_parameters(&build(&["a", "b"]), 7),
            initial_parameters(&build(&["b"]), 7),
        );
        assert_eq!(ab[64..69], b[..5]);
        assert_ne!(ab[..5], ab[64..69]);
        assert_ne!(b, initial_parameters(&build(&["b"]), 8));
        assert!(ab.iter().all(|x| x.abs() <= 0.5));
    }
}

//! Initial parameters, from a counter-based generator: a function of seed and parameter name alone.

use crate::graph::{Graph, Init};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// A whole parameter bank (models.md 1 and 3).
pub fn initial_parameters(graph: &Graph, seed: u64) -> Vec<f32> {
    let mut bank = vec![0.0; graph.bank_len()];
    let (mut rest, mut begin) = (&mut bank[..], 0);
    let mut each = Vec::new();
    for p in graph.params() {
        let info = graph.tensor(p.tensor);
        let (values, behind) = rest[p.offset - begin..].split_at_mut(info.numel());
        (rest, begin) = (behind, p.offset + info.numel());
        each.push((p.init, &info.name, values));
    }
    each.into_par_iter().for_each(|(init, name, values)| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.update(name.as_bytes());
        let mut rng = ChaCha8Rng::from_seed(*hasher.finalize().as_bytes());
        for (i, x) in values.iter_mut().enumerate() {
            *x = draw(init, i, &mut rng) as f32;
        }
    });
    bank
}

fn draw(init: Init, i: usize, rng: &mut ChaCha8Rng) -> f64 {
    let mut uniform = |lo: f64, hi: f64| lo + (hi - lo) * rng.random::<f64>();
    match init {
        Init::Constant(c) => c,
        Init::Uniform(r) => uniform(-r, r),
        Init::Between(lo, hi) => uniform(lo, hi),
        Init::Normal(deviation) => {
            // Box and Muller: of two normal numbers, one is used.
            let (u, v) = (uniform(0.0, 1.0), uniform(0.0, 1.0));
            deviation * (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
        }
        Init::LogUniform(lo, hi) => uniform(lo, hi).ln(),
        Init::LogIndex(width) => ((i % width + 1) as f64).ln(),
        Init::PiIndex(width) => std::f64::consts::PI * (i % width) as f64,
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
        g = Graph::new();
        g.param("A_imag", &[2, 2], Init::PiIndex(2));
        let pi = std::f32::consts::PI;
        assert_eq!(initial_parameters(&g, 7)[..4], [0.0, pi, 0.0, pi]);
    }

    #[test]
    fn normal_values_have_their_deviation_and_ends() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let n = 40_000;
        let x: Vec<f64> = (0..n).map(|_| draw(Init::Normal(0.5), 0, &mut rng)).collect();
        // Five standard deviations of the mean, the variance and the share beyond one deviation.
        let mean = x.iter().sum::<f64>() / f64::from(n);
        let variance = x.iter().map(|x| x * x).sum::<f64>() / f64::from(n);
        let beyond = x.iter().filter(|x| x.abs() > 0.5).count() as f64 / f64::from(n);
        assert!(mean.abs() < 0.0125, "{mean}");
        assert!((variance - 0.25).abs() < 0.009, "{variance}");
        assert!((beyond - 0.3173).abs() < 0.012, "{beyond}");
    }

    #[test]
    fn uniform_values_stay_between_their_ends() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let x: Vec<f64> = (0..1000)
            .map(|_| draw(Init::Between(-7.0, -2.0), 0, &mut rng))
            .collect();
        assert!(x.iter().all(|x| (-7.0..=-2.0).contains(x)));
        assert!(x.iter().any(|x| *x < -6.9) && x.iter().any(|x| *x > -2.1));
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

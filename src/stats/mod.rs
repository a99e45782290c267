//! Statistics over seeds: means with their intervals, paired comparisons, steps to an accuracy.
//!
//! Seeds are few, so every interval is Student's t with n - 1 degrees of freedom, at 95 %. It stands for the seeds that
//! were not run, and takes values to be roughly normal; with one seed there is none.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Probability that an interval covers the true mean.
pub const COVERAGE: f64 = 0.95;

/// A mean over seeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Mean {
    /// Values.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// Half the width of the 95 % interval around it: Student's t, n - 1 degrees of freedom; none for one value.
    pub half_width: Option<f64>,
}

impl Mean {
    /// Of values that are finite; `None` without any.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len();
        if n == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        Some(Self {
            n,
            mean,
            half_width: error_of_mean(values, mean).map(|error| error * quantile(n)),
        })
    }

    /// Ends of the interval.
    pub fn interval(&self) -> Option<[f64; 2]> {
        self.half_width.map(|half| [self.mean - half, self.mean + half])
    }
}

/// Two models on the same seeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Paired {
    /// Mean of first - second over the seeds that both have, with its interval.
    pub difference: Mean,
    /// Two-sided p-value of the paired t test: how often a difference as large comes about if there is none. None for one
    /// seed, and where every seed has the same difference.
    pub p: Option<f64>,
}

impl Paired {
    /// Compares values by seed; `None` if no seed has both.
    pub fn of(first: &[(u64, f64)], second: &[(u64, f64)]) -> Option<Self> {
        let other = |seed: u64| second.iter().find(|(s, _)| *s == seed).map(|(_, value)| *value);
        let differences: Vec<f64> = first
            .iter()
            .filter_map(|(seed, value)| Some(value - other(*seed)?))
            .collect();
        let difference = Mean::of(&differences)?;
        let error = error_of_mean(&differences, difference.mean);
        let p = error.filter(|error| *error > 0.0).map(|error| {
            let t = (difference.mean / error).abs();
            2.0 * students_t(differences.len()).sf(t)
        });
        Some(Self { difference, p })
    }
}

/// The first step of a curve of (step, accuracy) at which the accuracy is reached.
pub fn steps_to(curve: &[(u64, f64)], accuracy: f64) -> Option<u64> {
    let reached = curve.iter().find(|(_, value)| *value >= accuracy);
    reached.map(|(step, _)| *step)
}

/// Standard error of a mean; `None` for one value.
fn error_of_mean(values: &[f64], mean: f64) -> Option<f64> {
    let n = values.len() as f64;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (n - 1.0) / n).sqrt())
}

fn students_t(n: usize) -> StudentsT {
    StudentsT::new(0.0, 1.0, (n - 1) as f64).expect("at least one degree of freedom")
}

/// How many standard errors the interval of n values reaches to either side.
fn quantile(n: usize) -> f64 {
    students_t(n).inverse_cdf(0.5 + COVERAGE / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-6 * b.abs().max(1.0), "{a}, not {b}");
    }

    /// Quantiles of published tables.
    #[test]
    fn interval_is_students_t() {
        for (n, t) in [
            (2, 12.706_204_7),
            (3, 4.302_652_7),
            (4, 3.182_446_3),
            (11, 2.228_138_9),
        ] {
            close(quantile(n), t);
        }
        let mean = Mean::of(&[0.9, 0.94, 0.91, 0.97]).unwrap();
        close(mean.mean, 0.93);
        // sd = 0.0316228, standard error = 0.0158114.
        close(mean.half_width.unwrap(), 3.182_446_3 * 0.001_f64.sqrt() / 2.0);
        let [low, high] = mean.interval().unwrap();
        close((low + high) / 2.0, 0.93);
    }

    #[test]
    fn one_value_has_no_interval_and_none_no_mean() {
        assert_eq!(Mean::of(&[]), None);
        let one = Mean::of(&[0.5]).unwrap();
        assert_eq!(
            (one.n, one.mean, one.half_width, one.interval()),
            (1, 0.5, None, None)
        );
        assert_eq!(Mean::of(&[0.5, 0.5]).unwrap().half_width, Some(0.0));
    }

    /// The paired t test of ([1.1, 2.0, 3.2, 4.1], [1.0, 1.7, 3.0, 3.5]): t = 2.7774603, p = 0.0691369.
    #[test]
    fn paired_test_uses_the_seeds_that_both_have() {
        let first = [(1, 1.1), (2, 2.0), (3, 3.2), (4, 4.1), (9, 70.0)];
        let second = [(4, 3.5), (2, 1.7), (1, 1.0), (3, 3.0), (8, -3.0)];
        let paired = Paired::of(&first, &second).unwrap();
        assert_eq!(paired.difference.n, 4);
        close(paired.difference.mean, 0.3);
        close(paired.p.unwrap(), 0.069_136_9);
        let back = Paired::of(&second, &first).unwrap();
        close(back.difference.mean, -0.3);
        assert_eq!(back.p, paired.p);
    }

    #[test]
    fn no_p_value_without_spread_or_seeds() {
        assert_eq!(Paired::of(&[(1, 1.0)], &[(2, 1.0)]), None);
        assert_eq!(Paired::of(&[(1, 1.0)], &[(1, 2.0)]).unwrap().p, None);
        let same = Paired::of(&[(1, 1.0), (2, 1.0)], &[(1, 0.5), (2, 0.5)]).unwrap();
        assert_eq!((same.difference.mean, same.p), (0.5, None));
    }

    #[test]
    fn steps_are_those_of_the_first_evaluation_that_is_good_enough() {
        let curve = [(50, 0.2), (100, 0.91), (150, 0.89), (200, 0.95)];
        assert_eq!(steps_to(&curve, 0.9), Some(100));
        assert_eq!(steps_to(&curve, 0.95), Some(200));
        assert_eq!(steps_to(&curve, 0.96), None);
    }
}

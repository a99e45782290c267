//! The learning rate of each update, and the scalars that Adam takes from it.

use crate::ops::adam::{BETA1, BETA2};
use crate::step::StepParams;

/// Linear warm-up from 0, then a cosine (models.md 5).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The largest rate.
    pub lr: f64,
    /// Updates of the warm-up; may be a fraction.
    pub warmup: f64,
    /// Updates in all.
    pub steps: u64,
    /// What the cosine decays to, as a fraction of `lr`: 0 or 0.1.
    pub floor: f64,
}

impl Schedule {
    /// Rate of update `s`, counted from 0. Update 0 has rate 0 unless there is no warm-up.
    pub fn lr(&self, s: u64) -> f64 {
        let s = s as f64;
        if s < self.warmup {
            return self.lr * s / self.warmup;
        }
        let way = (s - self.warmup) / (self.steps as f64 - self.warmup);
        let cosine = (1.0 + (std::f64::consts::PI * way).cos()) / 2.0;
        self.lr * (self.floor + (1.0 - self.floor) * cosine)
    }

    /// Fills in what Adam's kernels read for update `s`: the bias corrections of update k = s + 1.
    pub fn adam(&self, s: u64, params: &mut StepParams) {
        let k = (s + 1) as f64;
        params.step_size = (self.lr(s) / (1.0 - BETA1.powf(k))) as f32;
        params.inv_sqrt_bias2 = (1.0 / (1.0 - BETA2.powf(k)).sqrt()) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `output/lr` of the golden `adam_clip_schedule`: lr 0.01, 3 updates of warm-up, 10 in all.
    const GOLDEN: [f32; 8] = [
        0.0,
        0.003_333_333_4,
        0.006_666_667,
        0.01,
        0.009_504_845,
        0.008_117_449,
        0.006_112_605,
        0.003_887_395_4,
    ];

    #[test]
    fn rates_are_the_golden_ones() {
        let schedule = Schedule {
            lr: 0.01,
            warmup: 3.0,
            steps: 10,
            floor: 0.0,
        };
        for (s, &want) in GOLDEN.iter().enumerate() {
            let got = schedule.lr(s as u64) as f32;
            assert!(
                (got - want).abs() <= f32::EPSILON * want,
                "update {s}: {got}, not {want}"
            );
        }
    }

    #[test]
    fn cosine_ends_at_its_floor() {
        for floor in [0.0, 0.1] {
            let schedule = Schedule {
                lr: 2e-3,
                warmup: 156.25,
                steps: 3125,
                floor,
            };
            assert!((schedule.lr(3125) - floor * 2e-3).abs() < 1e-15);
            assert!((schedule.lr(156) - 2e-3 * 156.0 / 156.25).abs() < 1e-15);
            let middle = schedule.lr(1640) / 2e-3;
            assert!((middle - (1.0 + floor) / 2.0).abs() < 1e-3, "{middle}");
        }
    }

    #[test]
    fn no_warmup_starts_at_the_full_rate() {
        let schedule = Schedule {
            lr: 1e-3,
            warmup: 0.0,
            steps: 7,
            floor: 0.0,
        };
        assert_eq!(schedule.lr(0), 1e-3);
    }

    #[test]
    fn bias_corrections_of_the_first_update() {
        let schedule = Schedule {
            lr: 1e-3,
            warmup: 0.0,
            steps: 100,
            floor: 0.0,
        };
        let mut params = StepParams::eval(1);
        schedule.adam(0, &mut params);
        assert!((params.step_size - 1e-2).abs() < 1e-8);
        assert!((f64::from(params.inv_sqrt_bias2) - 1e-3f64.powf(-0.5)).abs() < 1e-5);
    }
}

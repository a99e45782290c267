//! The number types that CPU twins are generic over.

use std::fmt::{Debug, Display};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Sub, SubAssign};

/// f32 (the executor) or f64 (the oracle).
pub trait Real:
    Copy
    + Debug
    + Display
    + Default
    + PartialOrd
    + Send
    + Sync
    + 'static
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + DivAssign
    + Sum
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// The difference between 1 and the next larger number.
    const EPSILON: Self;
    /// From a constant or a host parameter.
    fn of(x: f64) -> Self;
    /// Widened.
    fn f64(self) -> f64;
    /// e^x.
    fn exp(self) -> Self;
    /// ln x.
    fn ln(self) -> Self;
    /// ln(1 + x).
    fn ln_1p(self) -> Self;
    /// e^x - 1.
    fn exp_m1(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// |x|.
    fn abs(self) -> Self;
    /// The larger, ignoring NaN.
    fn max(self, other: Self) -> Self;
    /// The smaller, ignoring NaN.
    fn min(self, other: Self) -> Self;
    /// (sin x, cos x).
    fn sin_cos(self) -> (Self, Self);
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Distribution function of the normal distribution, relative to its own size in both tails.
    fn normal_cdf(self) -> Self;
    /// Neither infinite nor NaN.
    fn is_finite(self) -> bool;

    /// 1 / (1 + e^-x).
    #[inline(always)]
    fn sigmoid(self) -> Self {
        Self::ONE / (Self::ONE + (-self).exp())
    }
    /// ln(1 + e^x), without overflow.
    #[inline(always)]
    fn softplus(self) -> Self {
        self.max(Self::ZERO) + (-self.abs()).exp().ln_1p()
    }
    /// x sigmoid(x).
    #[inline(always)]
    fn silu(self) -> Self {
        self * self.sigmoid()
    }
    /// d silu / dx.
    #[inline(always)]
    fn silu_slope(self) -> Self {
        let s = self.sigmoid();
        s * (Self::ONE + self * (Self::ONE - s))
    }
    /// x times the normal distribution function of x.
    #[inline(always)]
    fn gelu(self) -> Self {
        self * self.normal_cdf()
    }
    /// d gelu / dx.
    #[inline(always)]
    fn gelu_slope(self) -> Self {
        let density = Self::of(0.398_942_280_401_432_7) * (Self::of(-0.5) * self * self).exp();
        self.normal_cdf() + self * density
    }
}

macro_rules! real {
    ($t:ident, $exp:expr, $tanh:expr, $normal_cdf:expr) => {
        impl Real for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const EPSILON: Self = Self::EPSILON;
            #[inline(always)]
            fn of(x: f64) -> Self {
                x as Self
            }
            #[inline(always)]
            fn f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn exp(self) -> Self {
                $exp(self)
            }
            fn ln(self) -> Self {
                self.ln()
            }
            fn ln_1p(self) -> Self {
                self.ln_1p()
            }
            fn exp_m1(self) -> Self {
                self.exp_m1()
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                self.sqrt()
            }
            #[inline(always)]
            fn abs(self) -> Self {
                self.abs()
            }
            #[inline(always)]
            fn max(self, other: Self) -> Self {
                self.max(other)
            }
            #[inline(always)]
            fn min(self, other: Self) -> Self {
                self.min(other)
            }
            fn sin_cos(self) -> (Self, Self) {
                self.sin_cos()
            }
            #[inline(always)]
            fn tanh(self) -> Self {
                $tanh(self)
            }
            #[inline(always)]
            fn normal_cdf(self) -> Self {
                $normal_cdf(self)
            }
            fn is_finite(self) -> bool {
                self.is_finite()
            }
        }
    };
}

real!(f32, exp_f32, tanh_f32, normal_cdf_f32);
real!(f64, f64::exp, f64::tanh, normal_cdf_f64);

/// tanh x from operations that vectorise: by exponentials, or its series where their difference loses digits.
#[inline(always)]
fn tanh_f32(x: f32) -> f32 {
    let e = exp_f32(-2.0 * x.abs());
    let large = ((1.0 - e) / (1.0 + e)).copysign(x);
    let z = x * x;
    let series = 0.133_333_33 + z * (-0.053_968_254 + z * 0.021_869_488);
    let small = x + x * z * (-0.333_333_34 + z * series);
    if z < 0.0625 { small } else { large }
}

/// Phi(-|x|) = e^(-x^2 / 2) t P(t), t = 1 / (1 + 0.35 |x|), P a polynomial through the Chebyshev nodes of |x| <= 14:
/// relative error 4e-8 before rounding.
#[inline(always)]
fn normal_cdf_f32(x: f32) -> f32 {
    const P: [f32; 8] = [
        0.146_545_83,
        -0.260_961_23,
        0.165_051,
        -0.027_046_608,
        0.107_114_59,
        0.119_444_92,
        0.139_912_3,
        0.139_618_71,
    ];
    let t = 1.0 / (1.0 + 0.35 * x.abs());
    let mut p = -0.029_679_522;
    for c in P {
        p = p * t + c;
    }
    let tail = exp_f32(-0.5 * x * x) * t * p;
    if x >= 0.0 { 1.0 - tail } else { tail }
}

/// 1/2 minus the series of the integral from 0 up to |x| = 3, the continued fraction of Mills' ratio beyond.
fn normal_cdf_f64(x: f64) -> f64 {
    let a = x.abs();
    let density = 0.398_942_280_401_432_7 * (-0.5 * a * a).exp();
    let tail = if a < 3.0 {
        let (mut term, mut sum, mut k) = (a, a, 1.0);
        while term > 1e-17 * sum {
            k += 2.0;
            term *= a * a / k;
            sum += term;
        }
        0.5 - density * sum
    } else {
        density / (1..=64).rev().fold(a, |below, k| a + f64::from(k) / below)
    };
    if x >= 0.0 { 1.0 - tail } else { tail }
}

/// e^x in f32 to about 1 ulp, from operations that the compiler vectorises (libm's `expf` is a call an element):
/// x = n ln 2 + r with |r| <= ln 2 / 2, a polynomial for e^r, and 2^n built in the exponent bits.
/// 0 below -87.3 (no denormals), infinity above 88.7, NaN for NaN.
#[inline(always)]
pub fn exp_f32(x: f32) -> f32 {
    const LN2_HI: f32 = 0.693_359_4;
    const LN2_LO: f32 = -2.121_944_4e-4;
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer
    let clamped = x.clamp(-87.5, 88.9);
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * LN2_HI - n * LN2_LO;
    let p = 1.0 / 5040.0;
    let p = p * r + 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    // 2^n in two factors, so that n = 128 does not leave the exponent range before the product does. n from the bits of the
    // sum: a cast that saturates is done element by element.
    let n = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let half = n >> 1;
    let two_to = |k: i32| f32::from_bits((k.wrapping_add(127) << 23) as u32);
    let y = p * two_to(half) * two_to(n.wrapping_sub(half));
    if x < -87.3 { 0.0 } else { y }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_f32_is_within_two_ulp() {
        let mut worst = 0.0f64;
        for i in 0..400_000 {
            let x = -87.0 + f64::from(i) * (175.0 / 400_000.0);
            let x = x as f32;
            let want = f64::from(x).exp();
            worst = worst.max((f64::from(exp_f32(x)) / want - 1.0).abs());
        }
        assert!(worst < 2.0 * f64::from(f32::EPSILON), "relative error {worst:e}");
    }

    #[test]
    fn normal_cdf_is_the_integral_of_the_density() {
        // erfc of these from tables: Phi(x) = erfc(-x / sqrt 2) / 2.
        for (x, want) in [
            (0.0, 0.5),
            (1.0, 0.841_344_746_068_542_9),
            (-1.0, 0.158_655_253_931_457_05),
            (-3.0, 1.349_898_031_630_094_6e-3),
            (-6.0, 9.865_876_450_376_98e-10),
            (-10.0, 7.619_853_024_160_525e-24),
        ] {
            assert!((normal_cdf_f64(x) / want - 1.0).abs() < 1e-13, "{x}");
        }
        for i in -1300..1300 {
            let x = 0.01 * i as f32;
            let error = f64::from(normal_cdf_f32(x)) / normal_cdf_f64(f64::from(x)) - 1.0;
            // The exponent x^2 / 2 is rounded.
            let allowed = 4e-7 + 6e-8 * f64::from(x * x);
            assert!(error.abs() < allowed, "{x}: {error:e}");
        }
        assert_eq!(normal_cdf_f64(f64::INFINITY), 1.0);
        assert_eq!(normal_cdf_f32(-1e30), 0.0);
    }

    #[test]
    fn tanh_f32_keeps_its_digits_near_zero() {
        for i in -1_000_000..1_000_000 {
            let x = 1e-5 * i as f32;
            let want = f64::from(x).tanh();
            assert!((f64::from(tanh_f32(x)) - want).abs() <= 3e-7 * want.abs(), "{x}");
        }
        assert_eq!(tanh_f32(f32::NEG_INFINITY), -1.0);
    }

    #[test]
    fn exp_f32_at_its_limits() {
        assert_eq!(exp_f32(0.0), 1.0);
        assert_eq!(exp_f32(-1e4), 0.0);
        assert_eq!(exp_f32(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp_f32(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp_f32(89.0), f32::INFINITY);
        assert!(exp_f32(f32::NAN).is_nan());
    }

    #[test]
    fn softplus_and_silu_do_not_overflow() {
        assert_eq!(Real::softplus(1000.0f32), 1000.0);
        assert_eq!(Real::softplus(-1000.0f32), 0.0);
        assert_eq!(Real::silu(-1000.0f32), -0.0);
        assert_eq!(Real::silu_slope(1000.0f32), 1.0);
        assert!(Real::silu_slope(-1000.0f32).abs() == 0.0);
    }
}

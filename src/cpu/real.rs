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
    /// Neither infinite nor NaN.
    fn is_finite(self) -> bool;

    /// 1 / (1 + e^-x).
    fn sigmoid(self) -> Self {
        Self::ONE / (Self::ONE + (-self).exp())
    }
    /// ln(1 + e^x), without overflow.
    fn softplus(self) -> Self {
        self.max(Self::ZERO) + (-self.abs()).exp().ln_1p()
    }
    /// x sigmoid(x).
    fn silu(self) -> Self {
        self * self.sigmoid()
    }
    /// d silu / dx.
    fn d_silu(self) -> Self {
        let s = self.sigmoid();
        s * (Self::ONE + self * (Self::ONE - s))
    }
}

macro_rules! real {
    ($t:ident, $exp:expr) => {
        impl Real for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const EPSILON: Self = Self::EPSILON;
            fn of(x: f64) -> Self {
                x as Self
            }
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
            fn sqrt(self) -> Self {
                self.sqrt()
            }
            fn abs(self) -> Self {
                self.abs()
            }
            fn max(self, other: Self) -> Self {
                self.max(other)
            }
            fn min(self, other: Self) -> Self {
                self.min(other)
            }
            fn sin_cos(self) -> (Self, Self) {
                self.sin_cos()
            }
            fn is_finite(self) -> bool {
                self.is_finite()
            }
        }
    };
}

real!(f32, exp_f32);
real!(f64, f64::exp);

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
    // 2^n in two factors, so that n = 128 does not leave the exponent range before the product does.
    let n = n as i32;
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
        assert_eq!(Real::d_silu(1000.0f32), 1.0);
        assert!(Real::d_silu(-1000.0f32).abs() == 0.0);
    }
}

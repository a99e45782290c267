//! Loops compiled for the registers of the processor at hand, where they are wider than those of the build's target.

/// `f()`, on x86 compiled once more for AVX2 and run so where the processor has it. `f` must be marked `#[inline(always)]`
/// and call nothing that is not inlined, or its loops stay as narrow as the target's.
///
/// The operations and their order are those of the source, whatever the width: no sum is reordered, and no product
/// contracted with one. The bits do not depend on the processor.
#[inline]
pub fn vectorize<T>(f: impl FnOnce() -> T) -> T {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn with_avx2<T>(f: impl FnOnce() -> T) -> T {
            f()
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2, as asked in the line above.
            #[allow(unsafe_code, reason = "code for AVX2 is called only where it can run")]
            return unsafe { with_avx2(f) };
        }
    }
    f()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twin::Real;

    #[test]
    fn bits_do_not_depend_on_the_width() {
        let x: Vec<f32> = (0..1003).map(|i| 0.01 * i as f32 - 5.0).collect();
        let plain: Vec<f32> = x.iter().map(|x| *x * x.silu() - x.tanh()).collect();
        let mut wide = vec![0.0; x.len()];
        vectorize(
            #[inline(always)]
            || {
                for (y, x) in wide.iter_mut().zip(&x) {
                    *y = *x * x.silu() - x.tanh();
                }
            },
        );
        assert_eq!(plain, wide);
    }
}

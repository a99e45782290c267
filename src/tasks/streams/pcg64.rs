//! PCG64: a 128-bit linear congruential generator with the XSL-RR output, and numpy's draws from it.

use super::{SeedSequence, ULP_53};

const MULTIPLIER: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;

/// The generator behind numpy's `default_rng(seed)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pcg64 {
    state: u128,
    increment: u128,
    /// The unused high half of a 64-bit word, which the next 32-bit draw returns.
    half: Option<u32>,
}

impl Pcg64 {
    /// `default_rng(seed)`.
    pub fn new(seed: u128) -> Self {
        Self::from_sequence(&SeedSequence::new(seed))
    }

    /// `default_rng([a, b, ..])` for a list of numbers below 2^32.
    pub fn from_list(list: &[u32]) -> Self {
        Self::from_sequence(&SeedSequence::from_words(list))
    }

    /// From hashed entropy.
    pub fn from_sequence(seed: &SeedSequence) -> Self {
        let [w0, w1, w2, w3] = seed.generate().map(u128::from);
        let increment = (w2 << 64 | w3) << 1 | 1;
        let state = increment
            .wrapping_add(w0 << 64 | w1)
            .wrapping_mul(MULTIPLIER)
            .wrapping_add(increment);
        Self {
            state,
            increment,
            half: None,
        }
    }

    /// The state of the congruential generator.
    pub fn state(&self) -> u128 {
        self.state
    }

    /// The increment, which tells the streams of different seeds apart.
    pub fn increment(&self) -> u128 {
        self.increment
    }

    /// The next 64-bit word. Neither uses nor clears a stored half.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_mul(MULTIPLIER).wrapping_add(self.increment);
        let folded = (self.state >> 64) as u64 ^ self.state as u64;
        folded.rotate_right((self.state >> 122) as u32)
    }

    /// The next 32-bit word: the low half of a 64-bit word, then its high half.
    #[inline]
    pub fn next_u32(&mut self) -> u32 {
        if let Some(high) = self.half.take() {
            return high;
        }
        let word = self.next_u64();
        self.half = Some((word >> 32) as u32);
        word as u32
    }

    /// Uniform in [0, 1), 53 bits.
    #[inline]
    pub fn random(&mut self) -> f64 {
        self.word_and_random().1
    }

    /// The next 64-bit word, and the [`Self::random`] that it makes.
    #[inline]
    pub fn word_and_random(&mut self) -> (u64, f64) {
        let word = self.next_u64();
        (word, (word >> 11) as f64 * ULP_53)
    }

    /// Uniform in `0..n`, by multiplication and rejection (Lemire). Draws nothing for `n = 1`.
    ///
    /// # Panics
    /// For `n = 0`.
    #[inline]
    pub fn below(&mut self, n: u32) -> u32 {
        assert!(n > 0, "the range 0..0 is empty");
        if n == 1 {
            return 0;
        }
        let mut product = u64::from(self.next_u32()) * u64::from(n);
        if (product as u32) < n {
            let threshold = n.wrapping_neg() % n;
            while (product as u32) < threshold {
                product = u64::from(self.next_u32()) * u64::from(n);
            }
        }
        (product >> 32) as u32
    }

    /// A random order of `0..n`, written into `order`; its former content does not matter.
    pub fn permute(&mut self, n: usize, order: &mut Vec<u32>) {
        order.clear();
        order.extend(0..n as u32);
        for i in (1..n).rev() {
            let mask = u32::MAX >> (i as u32).leading_zeros();
            let j = loop {
                let candidate = (self.next_u32() & mask) as usize;
                if candidate <= i {
                    break candidate;
                }
            };
            order.swap(i, j);
        }
    }

    /// A random order of `0..n`.
    pub fn permutation(&mut self, n: usize) -> Vec<u32> {
        let mut order = Vec::new();
        self.permute(n, &mut order);
        order
    }

    /// `k` different numbers below `n`, in random order: Floyd's method, then a shuffle.
    ///
    /// This is the reference's way for `n <= 10000`.
    ///
    /// # Panics
    /// For `k > n`.
    pub fn choice(&mut self, n: u32, k: u32) -> Vec<u32> {
        assert!(k <= n, "{k} different numbers below {n} do not exist");
        let mut chosen: Vec<u32> = Vec::with_capacity(k as usize);
        for j in n - k..n {
            let v = self.below(j + 1);
            chosen.push(if chosen.contains(&v) { j } else { v });
        }
        for i in (1..chosen.len()).rev() {
            let j = self.below(i as u32 + 1) as usize;
            chosen.swap(i, j);
        }
        chosen
    }

    /// Moves as far as `draws` 64-bit draws would, in logarithmic time. A stored half stays.
    pub fn jump(&mut self, draws: u128) {
        let (mut factor, mut offset) = (1u128, 0u128);
        let (mut step_factor, mut step_offset) = (MULTIPLIER, self.increment);
        let mut left = draws;
        while left > 0 {
            if left & 1 == 1 {
                factor = factor.wrapping_mul(step_factor);
                offset = offset.wrapping_mul(step_factor).wrapping_add(step_offset);
            }
            step_offset = step_factor.wrapping_add(1).wrapping_mul(step_offset);
            step_factor = step_factor.wrapping_mul(step_factor);
            left >>= 1;
        }
        self.state = self.state.wrapping_mul(factor).wrapping_add(offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEDS: [u128; 3] = [0, 1, 42];

    #[test]
    fn states_of_the_specification() {
        let states = [
            (
                0x1aa1_b534_5996_452d_0958_5eb7_a695_61e3u128,
                0x418d_dadb_3af7_1a82_5881_33bc_4478_73a9u128,
            ),
            (
                0x9c5b_484b_fedb_756c_2a6e_7d6f_320f_bc7e,
                0x922a_f2da_2645_f895_a198_57b9_5740_937b,
            ),
            (
                0xcea4_4f67_9879_8f2a_acbc_7c9d_6886_0ac8,
                0xfa50_5436_c9a8_416e_66ca_f2e2_8d25_abff,
            ),
        ];
        for (seed, (state, increment)) in SEEDS.into_iter().zip(states) {
            let rng = Pcg64::new(seed);
            assert_eq!((rng.state(), rng.increment()), (state, increment), "seed {seed}");
        }
    }

    #[test]
    fn draws_of_the_specification() {
        let words = [
            [11749869230777074271u64, 4976686463289251617, 755828109848996024],
            [9441442522235856127, 17532960557476522086, 2659275481604167885],
            [14276969152011380360, 8095878257575067585, 15838336090824644132],
        ];
        let uniforms = [0.6369616873214543, 0.5118216247002567, 0.7739560485559633];
        let below_100 = [
            [85, 63, 51, 26, 30, 4],
            [47, 51, 75, 95, 3, 14],
            [8, 77, 65, 43, 43, 85],
        ];
        let permutations = [
            [4, 6, 2, 7, 3, 5, 9, 0, 8, 1],
            [8, 4, 7, 0, 1, 2, 5, 9, 6, 3],
            [5, 6, 0, 7, 3, 2, 4, 9, 1, 8],
        ];
        let choices = [[2, 9, 6, 5], [7, 4, 10, 3], [4, 0, 9, 6]];
        for (i, seed) in SEEDS.into_iter().enumerate() {
            let rng = || Pcg64::new(seed);
            let mut raw = rng();
            assert_eq!([raw.next_u64(), raw.next_u64(), raw.next_u64()], words[i]);
            assert_eq!(rng().random(), uniforms[i]);
            let mut integers = rng();
            assert_eq!([(); 6].map(|()| integers.below(100)), below_100[i]);
            assert_eq!(rng().permutation(10), permutations[i]);
            assert_eq!(rng().choice(11, 4), choices[i]);
        }
    }

    #[test]
    fn stored_half_survives_other_draws() {
        let mut rng = Pcg64::new(42);
        assert_eq!(rng.below(7), 0);
        assert_eq!(rng.random(), 0.4388784397520523);
        assert_eq!(rng.permutation(5)[0], 3);
        assert_eq!(rng.below(7), 1);
    }

    #[test]
    fn lists_of_the_disjoint_splits() {
        assert_eq!(Pcg64::from_list(&[1, 0, 0, 1]).random(), 0.16098144424091232);
        assert_eq!(Pcg64::from_list(&[1, 2, 999, 2]).random(), 0.2508131645237853);
    }

    #[test]
    fn jump_equals_drawing() {
        for draws in [0u128, 1, 2, 3, 63, 1000] {
            let (mut jumped, mut drawn) = (Pcg64::new(7), Pcg64::new(7));
            jumped.jump(draws);
            for _ in 0..draws {
                drawn.next_u64();
            }
            assert_eq!(jumped, drawn, "{draws} draws");
        }
    }

    #[test]
    fn ranges_of_one_draw_nothing() {
        let mut rng = Pcg64::new(3);
        assert_eq!(rng.below(1), 0);
        assert_eq!(rng.permutation(1), [0]);
        assert_eq!(rng, Pcg64::new(3));
    }
}

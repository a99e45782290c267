//! The Mersenne Twister, under the seedings and draws of Python, numpy's legacy state and torch.

use super::{ULP_53, integer_words};

const N: usize = 624;
const PERIOD: usize = 397;
const UPPER: u32 = 0x8000_0000;
const LOWER: u32 = 0x7fff_ffff;

/// MT19937 with the draws that the reference takes from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mt19937 {
    words: [u32; N],
    next: usize,
}

impl Mt19937 {
    /// Seeded by a number: numpy's legacy `seed(s)` and torch's `manual_seed(s)`.
    pub fn from_number(seed: u32) -> Self {
        let mut words = [0u32; N];
        words[0] = seed;
        for i in 1..N {
            let previous = words[i - 1];
            words[i] = 1_812_433_253u32
                .wrapping_mul(previous ^ previous >> 30)
                .wrapping_add(i as u32);
        }
        Self { words, next: N }
    }

    /// Seeded by an array of words.
    pub fn from_key(key: &[u32]) -> Self {
        let mut words = Self::from_number(19_650_218).words;
        let (mut i, mut j) = (1, 0);
        let spread = |words: &[u32; N], i: usize, factor: u32| {
            let previous = words[i - 1];
            words[i] ^ (previous ^ previous >> 30).wrapping_mul(factor)
        };
        let advance = |words: &mut [u32; N], i: &mut usize| {
            *i += 1;
            if *i == N {
                words[0] = words[N - 1];
                *i = 1;
            }
        };
        for _ in 0..N.max(key.len()) {
            words[i] = spread(&words, i, 1_664_525)
                .wrapping_add(key[j])
                .wrapping_add(j as u32);
            advance(&mut words, &mut i);
            j = (j + 1) % key.len();
        }
        for _ in 1..N {
            words[i] = spread(&words, i, 1_566_083_941).wrapping_sub(i as u32);
            advance(&mut words, &mut i);
        }
        words[0] = UPPER;
        Self { words, next: N }
    }

    /// Seeded as Python's `random.seed(integer)`.
    pub fn python(seed: u128) -> Self {
        Self::from_key(&integer_words(seed))
    }

    fn refill(&mut self) {
        for i in 0..N {
            let y = self.words[i] & UPPER | self.words[(i + 1) % N] & LOWER;
            let twist = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.words[i] = self.words[(i + PERIOD) % N] ^ y >> 1 ^ twist;
        }
        self.next = 0;
    }

    /// The next 32-bit word.
    pub fn next_u32(&mut self) -> u32 {
        if self.next == N {
            self.refill();
        }
        let mut y = self.words[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= y << 7 & 0x9d2c_5680;
        y ^= y << 15 & 0xefc6_0000;
        y ^ y >> 18
    }

    /// Python's integer in `0..n`: as many bits as `n` has, drawn until below it.
    fn python_below(&mut self, n: u32) -> u32 {
        loop {
            let candidate = self.next_u32() >> n.leading_zeros();
            if candidate < n {
                return candidate;
            }
        }
    }

    /// Python's `sample(range(n), k)`, for `n` up to 85.
    ///
    /// # Panics
    /// For `k > n`, or `n > 85`, where Python changes the method.
    pub fn python_sample(&mut self, n: u32, k: u32) -> Vec<u32> {
        assert!(k <= n && n <= 85, "a sample of {k} from {n}");
        let mut sample = Vec::with_capacity(k as usize);
        if k <= 5 && n > 21 {
            while sample.len() < k as usize {
                let item = self.python_below(n);
                if !sample.contains(&item) {
                    sample.push(item);
                }
            }
        } else {
            let mut pool: Vec<u32> = (0..n).collect();
            for i in 0..k {
                let j = self.python_below(n - i) as usize;
                sample.push(pool[j]);
                pool[j] = pool[(n - i - 1) as usize];
            }
        }
        sample
    }

    /// numpy's legacy uniform f64 in `lo..hi`; drawn even if the range is empty.
    pub fn legacy_uniform(&mut self, lo: f64, hi: f64) -> f64 {
        let a = u64::from(self.next_u32() >> 5);
        let b = u64::from(self.next_u32() >> 6);
        lo + (hi - lo) * ((a << 26 | b) as f64 * ULP_53)
    }

    /// numpy's legacy `choice` of a position in a list of `n`, by masked rejection. Draws nothing for `n =
    /// 1`.
    ///
    /// # Panics
    /// For `n = 0`.
    pub fn legacy_choice(&mut self, n: u32) -> u32 {
        assert!(n > 0, "a choice from an empty list");
        if n == 1 {
            return 0;
        }
        let mask = u32::MAX >> (n - 1).leading_zeros();
        loop {
            let candidate = self.next_u32() & mask;
            if candidate < n {
                return candidate;
            }
        }
    }

    /// torch's uniform f32 in [0, 1), 24 bits, one word a value.
    pub fn torch_f32(&mut self) -> f32 {
        const ULP_24: f32 = 1.0 / (1u32 << 24) as f32;
        (self.next_u32() & 0x00ff_ffff) as f32 * ULP_24
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEDS: [u32; 3] = [0, 1, 42];

    #[test]
    fn python_draws_of_the_specification() {
        let firsts = [3626764237u32, 577090037, 2746317213];
        let of_seven = [[6, 7, 3, 0, 2, 5], [2, 4, 0, 7, 5, 1], [1, 0, 5, 2, 7, 6]];
        let whole = [
            [24, 26, 2, 16, 32, 31, 25, 19],
            [8, 36, 4, 16, 7, 31, 28, 30],
            [7, 1, 17, 15, 14, 8, 6, 5],
        ];
        let five = [[24, 26, 2, 16, 32], [8, 36, 4, 16, 7], [7, 1, 17, 15, 14]];
        for (i, seed) in SEEDS.into_iter().enumerate() {
            let rng = || Mt19937::python(u128::from(seed));
            assert_eq!(rng().next_u32(), firsts[i]);
            assert_eq!(rng().python_sample(8, 6), of_seven[i]);
            assert_eq!(rng().python_sample(40, 40)[..8], whole[i]);
            assert_eq!(rng().python_sample(40, 5), five[i]);
        }
    }

    #[test]
    fn legacy_and_torch_draws_of_the_specification() {
        let firsts = [2357136044u32, 1791095845, 1608637542];
        let uniforms = [0.5939321535345923, 0.47531980423231657, 0.4370861069626263];
        let choices = [
            [12, 15, 21, 0, 3, 3],
            [5, 11, 12, 8, 9, 11],
            [6, 19, 14, 10, 7, 20],
        ];
        let floats = [0.49625658988952637f64, 0.7576315999031067, 0.8822692632675171];
        for (i, seed) in SEEDS.into_iter().enumerate() {
            let rng = || Mt19937::from_number(seed);
            assert_eq!(rng().next_u32(), firsts[i]);
            assert_eq!(rng().legacy_uniform(0.1, 1.0), uniforms[i]);
            let mut chooser = rng();
            assert_eq!([(); 6].map(|()| chooser.legacy_choice(25)), choices[i]);
            assert_eq!(f64::from(rng().torch_f32()), floats[i]);
        }
    }

    #[test]
    fn choice_of_one_draws_nothing() {
        let mut rng = Mt19937::from_number(1);
        assert_eq!(rng.legacy_choice(1), 0);
        assert_eq!(rng, Mt19937::from_number(1));
    }
}

//! The hash that spreads a seed over the state of a generator.

use super::integer_words;

/// numpy's `SeedSequence`: four words of entropy, from which any number of words can be drawn.
///
/// All arithmetic wraps at 32 bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedSequence {
    pool: [u32; 4],
}

/// Running multiplier of the pool hash.
struct PoolHash(u32);

impl PoolHash {
    fn hash(&mut self, value: u32) -> u32 {
        let value = value ^ self.0;
        self.0 = self.0.wrapping_mul(0x931e_8875);
        let value = value.wrapping_mul(self.0);
        value ^ (value >> 16)
    }
}

fn mix(x: u32, y: u32) -> u32 {
    let r = x
        .wrapping_mul(0xca01_f9dd)
        .wrapping_sub(y.wrapping_mul(0x4973_f715));
    r ^ (r >> 16)
}

impl SeedSequence {
    /// From one non-negative integer of any size up to 128 bits.
    pub fn new(seed: u128) -> Self {
        Self::from_words(&integer_words(seed))
    }

    /// From the words of a seed, or of a list of seeds one after the other.
    ///
    /// Trailing zero words within the first four change nothing: lists that differ only there give the same
    /// stream.
    pub fn from_words(words: &[u32]) -> Self {
        let mut h = PoolHash(0x43b0_d7e5);
        let mut pool = [0u32; 4];
        for i in 0..4 {
            pool[i] = h.hash(words.get(i).copied().unwrap_or(0));
        }
        for source in 0..4 {
            for target in 0..4 {
                if source != target {
                    pool[target] = mix(pool[target], h.hash(pool[source]));
                }
            }
        }
        for &word in words.iter().skip(4) {
            for entry in &mut pool {
                *entry = mix(*entry, h.hash(word));
            }
        }
        Self { pool }
    }

    /// The hashed entropy.
    pub fn pool(&self) -> [u32; 4] {
        self.pool
    }

    /// The first `N` 64-bit words that seed a generator.
    pub fn generate<const N: usize>(&self) -> [u64; N] {
        let mut g = 0x8b51_f9ddu32;
        let mut i = 0;
        let mut word = || {
            let value = self.pool[i % 4] ^ g;
            i += 1;
            g = g.wrapping_mul(0x58f3_8ded);
            let value = value.wrapping_mul(g);
            u64::from(value ^ (value >> 16))
        };
        std::array::from_fn(|_| {
            let low = word();
            low | word() << 32
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_of_the_specification() {
        let pool = |seed| SeedSequence::new(seed).pool();
        assert_eq!(pool(0), [0xfe40_eb07, 0x4f36_3a36, 0x4eb2_009d, 0xc89a_7aa7]);
        assert_eq!(pool(1), [0xa137_e185, 0x0de2_fab1, 0x950e_ae78, 0x54dd_0a81]);
        assert_eq!(pool(42), [0x631d_3606, 0x07ae_90ae, 0x6fc4_be28, 0x2ced_5c75]);
    }

    #[test]
    fn words_beyond_the_pool_count() {
        let four = SeedSequence::from_words(&[1, 2, 3, 4]);
        assert_ne!(four, SeedSequence::from_words(&[1, 2, 3, 4, 5]));
        assert_eq!(
            SeedSequence::from_words(&[7]),
            SeedSequence::from_words(&[7, 0, 0, 0])
        );
    }

    #[test]
    fn integers_split_into_words() {
        assert_eq!(integer_words(0), [0]);
        assert_eq!(integer_words(0xffff_ffff), [0xffff_ffff]);
        assert_eq!(integer_words(0x1_0000_0000), [0, 1]);
        assert_eq!(integer_words(u128::MAX), [u32::MAX; 4]);
    }
}

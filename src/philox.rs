//! Philox4x32-10: random bits as a function of a counter and a key alone, the same on every device.
//!
//! The kernels' twin is `shaders/lib/philox.wgsl`. Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy
//! as 1, 2, 3" (SC 2011); the known answers of the tests are those of its authors' library, Random123.

const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
const KEY_STEPS: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];

/// Second key word of dropout masks; the first is the seed. Other uses of the generator take other words.
pub const DROPOUT_KEY: u32 = 0x6d61_736b;

/// Four words of random bits.
pub fn philox4x32(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    philox4x32_lanes(counter.map(|word| [word]), key).map(|[word]| word)
}

/// [`philox4x32`] of `L` counters, word by word.
#[inline(always)]
pub(crate) fn philox4x32_lanes<const L: usize>(counters: [[u32; L]; 4], key: [u32; 2]) -> [[u32; L]; 4] {
    let (mut c, mut k) = (counters, key);
    for _ in 0..10 {
        let mut next = [[0; L]; 4];
        for l in 0..L {
            let product = |m: u32, x: u32| u64::from(m) * u64::from(x);
            let p = [product(MULTIPLIERS[0], c[0][l]), product(MULTIPLIERS[1], c[2][l])];
            next[0][l] = (p[1] >> 32) as u32 ^ c[1][l] ^ k[0];
            next[1][l] = p[1] as u32;
            next[2][l] = (p[0] >> 32) as u32 ^ c[3][l] ^ k[1];
            next[3][l] = p[0] as u32;
        }
        c = next;
        for (k, step) in k.iter_mut().zip(KEY_STEPS) {
            *k = k.wrapping_add(step);
        }
    }
    c
}

/// Second key word of noise; the first is the seed of the samples.
pub const NOISE_KEY: u32 = 0x6e6f_6973;

/// The noise of one time step: a number in [0, 1) for every channel, from channel 0 on. It is a function of the sample's
/// seed, split (0, 1, 2) and idx, the step and the channel alone.
///
/// The counter (channel / 4, step, idx, split) with the key (seed, [`NOISE_KEY`]) gives four words, one for each of four
/// channels; the upper 24 bits of a word are the number. `docs/tasks.md` has it in ten lines of numpy; the kernel's twin is
/// `shaders/one_hot`.
pub fn noise([seed, split, idx, step]: [u32; 4], row: &mut [f32]) {
    for (block, channels) in (0..).zip(row.chunks_mut(4)) {
        let words = philox4x32([block, step, idx, split], [seed, NOISE_KEY]);
        for (channel, word) in channels.iter_mut().zip(words) {
            *channel = unit(word);
        }
    }
}

/// The upper 24 bits of a word as a number in [0, 1), exact in f32.
fn unit(word: u32) -> f32 {
    const ULP_24: f32 = 1.0 / (1u32 << 24) as f32;
    (word >> 8) as f32 * ULP_24
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Counter, key, bits.
    pub(crate) const KNOWN: [([u32; 4], [u32; 2], [u32; 4]); 3] = [
        (
            [0; 4],
            [0; 2],
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8],
        ),
        (
            [u32::MAX; 4],
            [u32::MAX; 2],
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd],
        ),
        (
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
        ),
    ];

    #[test]
    fn gives_the_known_answers() {
        for (counter, key, bits) in KNOWN {
            assert_eq!(philox4x32(counter, key), bits);
        }
    }

    #[test]
    fn noise_of_a_channel_depends_on_nothing_beside_it() {
        let noise = |place, width| {
            let mut row = vec![0.0; width];
            noise(place, &mut row);
            row
        };
        let whole = noise([7, 2, 3, 11], 41);
        assert!(whole.iter().all(|u| (0.0..1.0).contains(u)));
        assert_eq!(whole[..5], noise([7, 2, 3, 11], 5));
        for other in [[8, 2, 3, 11], [7, 0, 3, 11], [7, 2, 4, 11], [7, 2, 3, 12]] {
            assert!(whole.iter().zip(&noise(other, 41)).all(|(a, b)| a != b));
        }
    }

    #[test]
    fn noise_is_that_of_the_documentation() {
        // What the numpy of tasks.md 6 prints for noise(1, 0, 0, 1, 5) and the last row of noise(7, 2, 3, 12, 41).
        for (place, words) in [
            (
                [1, 0, 0, 0],
                [1_652_558, 1_027_065, 15_040_361, 15_789_163, 15_174_147],
            ),
            (
                [7, 2, 3, 11],
                [1_157_508, 10_245_230, 4_522_552, 11_526_152, 348_453],
            ),
        ] {
            let mut row = [0.0; 5];
            noise(place, &mut row);
            assert_eq!(row.map(|u| (u * 16_777_216.0) as u32), words);
        }
    }
}

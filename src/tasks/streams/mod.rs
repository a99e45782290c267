//! The random streams of the reference, bit for bit.
//!
//! Grammars and sequences are defined by the output of four generators, so all four are rebuilt here from
//! their definitions: numpy's `default_rng` ([`Pcg64`], seeded by [`SeedSequence`]), Python's `random`,
//! numpy's global legacy state and torch's CPU stream (all three [`Mt19937`]).
//! `tests/fixtures/grammars/rng.json` proves them.

mod mt19937;
mod pcg64;
mod seed_sequence;

pub use mt19937::Mt19937;
pub use pcg64::Pcg64;
pub use seed_sequence::SeedSequence;

/// 2^-53, the distance of neighbouring values of a uniform f64 in [0, 1).
const ULP_53: f64 = 1.0 / (1u64 << 53) as f64;

/// The 32-bit words of a non-negative integer, least significant first, without leading zero words; 0 is
/// `[0]`.
pub fn integer_words(value: u128) -> Vec<u32> {
    let count = (128 - value.leading_zeros()).div_ceil(32).max(1);
    (0..count).map(|i| (value >> (32 * i)) as u32).collect()
}

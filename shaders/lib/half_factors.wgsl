// Factors of a chunk for the kernels of lib/half_chunk: decays a row (`table` of chunk_prep_fwd_half_coop) or, by CHANNEL, over
// the chunk (`table` of channel_prep_fwd_half_coop: [B, H, chunks, FACTORS], channels and, DELTA, write strengths). Imports:
// lib/half_chunk; the importing kernel has a binding `table` of f32.
const FACTORS: u32 = {KEY_BLOCKS * 16 + DELTA * 64};
#if CHANNEL

// Decay of channel j over the whole chunk.
fn decay_whole(j: u32) -> f32 {
    return table[block() * FACTORS + min(j, {KEY_BLOCKS * 16 - 1}u)];
}
#else
fn decay_whole(j: u32) -> f32 {
    return table[entry(DECAY_IN, CHUNK - 1u)];
}
#endif
#if DELTA

// Write strength of row i, 0 for padding.
fn strength_of(i: u32) -> f32 {
#if CHANNEL
    return table[block() * FACTORS + {KEY_BLOCKS * 16}u + i];
#else
    return table[entry(BETA, i)];
#endif
}
#endif

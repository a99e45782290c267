// Gradients of the pairs of rows of a chunk with a decay by channel, E and F of chunk_bwd_half_coop: [1 + DELTA, B, H, chunks,
// PAIRS], a quad each: 4 x 4 blocks of 16 x 16, then of the blocks on the diagonal what belongs to levels 2 and 3 of
// lib/half_channel.
const PAIRS: u32 = 1536;
const OF_LEVELS: u32 = 1024;

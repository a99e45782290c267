// Factors of the rows of a chunk for the kernels of lib/half_chunk: a decay a row (`table` of chunk_prep_fwd_half_coop) or, by
// CHANNEL, one an element of the keys (`table` of channel_factors_fwd: [B, T HOUSEHOLDER, H, 2 d_k + EXTRA], in, out and,
// DELTA, the write strength). Imports: lib/half_chunk; the importing kernel has a binding `table` of Factors.
const CHANNEL: bool = false;
const EXTRA: u32 = 0;
#if CHANNEL
alias Factors = vec4<f32>;

// By CHANNEL: where the quads of row i begin, which is no padding.
fn quads_of(i: u32) -> u32 {
    return row(i) * ((2u * params.d_k + EXTRA) / 4u);
}

// Decays from the chunk's start to row i of quad c of the channels, and from the row to the chunk's end; 0 outside.
fn decays_in(i: u32, c: u32) -> vec4<f32> {
    let inside = is_row(i) & (4u * c < params.d_k);
    return select(vec4(0.0), table[select(0u, quads_of(i) + c, inside)], inside);
}

fn decays_out(i: u32, c: u32) -> vec4<f32> {
    let inside = is_row(i) & (4u * c < params.d_k);
    return select(vec4(0.0), table[select(0u, quads_of(i) + params.d_k / 4u + c, inside)], inside);
}

// Decay of channel j over the whole chunk.
fn decay_whole(j: u32) -> f32 {
    return decays_in(rows() - 1u, j / 4u)[j % 4u];
}
#else
alias Factors = f32;

fn decay_whole(j: u32) -> f32 {
    return table[entry(DECAY_IN, CHUNK - 1u)];
}
#endif
#if DELTA

// Write strength of row i, 0 for padding.
fn strength_of(i: u32) -> f32 {
#if CHANNEL
    let inside = is_row(i);
    return select(0.0, table[select(0u, quads_of(i) + params.d_k / 2u, inside)].x, inside);
#else
    return table[entry(BETA, i)];
#endif
}
#endif

// Additive linear attention, one chunk of one head: decay factors, a factor a row (`table` of chunk_prep_fwd) or, by
// CHANNEL, one an element of the keys (`table` of channel_factors_fwd: [B, T, H, 2, d_k]). Imports: lib/chunk; the
// importing kernel has a binding `table`.
const CHANNEL: bool = false;

// Decay from the chunk's start to row i, and from row i to the chunk's end, of channel j; by CHANNEL i is a token.
fn decay_in(i: u32, j: u32) -> f32 {
#if CHANNEL
    return table[2u * row(i) * params.d_k + j];
#else
    return table[entry(DECAY_IN, i)];
#endif
}

fn decay_out(i: u32, j: u32) -> f32 {
#if CHANNEL
    return table[(2u * row(i) + 1u) * params.d_k + j];
#else
    return table[entry(DECAY_OUT, i)];
#endif
}

#if WIDE && CHANNEL
fn decays_in(i: u32, j: u32) -> Value {
    return vec4(decay_in(i, j), decay_in(i, j + 1u), decay_in(i, j + 2u), decay_in(i, j + 3u));
}

fn decays_out(i: u32, j: u32) -> Value {
    return vec4(decay_out(i, j), decay_out(i, j + 1u), decay_out(i, j + 2u), decay_out(i, j + 3u));
}
#else
// As many as a Value has.
fn decays_in(i: u32, j: u32) -> Value {
    return Value(decay_in(i, j));
}

fn decays_out(i: u32, j: u32) -> Value {
    return Value(decay_out(i, j));
}
#endif

// Decay over the whole chunk.
fn decay_whole(j: u32) -> f32 {
    return decay_in(rows() - 1u, j);
}

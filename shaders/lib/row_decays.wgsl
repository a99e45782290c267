// Decay factors of the rows of a chunk: a factor a row (`table` of chunk_prep_fwd) or, by CHANNEL, one an element of the
// keys (`table` of channel_factors_fwd: [B, T HOUSEHOLDER, H, 2 d_k + EXTRA], in, out and, for the delta rule, the write
// strength and partial sums of its gradient). Imports: lib/chunk; the importing kernel has a binding `table`.
const CHANNEL: bool = false;
const EXTRA: u32 = 0;
const QUADS: bool = false; // by CHANNEL: `table` is bound by Factors, EXTRA a multiple of 4
const BY_QUADS: bool = WIDE && CHANNEL && QUADS; // four factors are read at a time
#if BY_QUADS
alias Factors = vec4<f32>;
#else
alias Factors = f32;
#endif

// By CHANNEL: where the words of row i begin.
fn words_of(i: u32) -> u32 {
    return row(i) * (2u * params.d_k + EXTRA);
}

// Decay from the chunk's start to row i, and from row i to the chunk's end, of channel j; by CHANNEL i is no padding.
fn decay_in(i: u32, j: u32) -> f32 {
#if BY_QUADS
    return decays_in(i, j)[j % 4u];
#else
#if CHANNEL
    return table[words_of(i) + j];
#else
    return table[entry(DECAY_IN, i)];
#endif
#endif
}

fn decay_out(i: u32, j: u32) -> f32 {
#if BY_QUADS
    return decays_out(i, j)[j % 4u];
#else
#if CHANNEL
    return table[words_of(i) + params.d_k + j];
#else
    return table[entry(DECAY_OUT, i)];
#endif
#endif
}

#if BY_QUADS
fn decays_in(i: u32, j: u32) -> Value {
    return table[(words_of(i) + j) / 4u];
}

fn decays_out(i: u32, j: u32) -> Value {
    return table[(words_of(i) + params.d_k + j) / 4u];
}
#else
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
#endif

// Decay over the whole chunk.
fn decay_whole(j: u32) -> f32 {
    return decay_in(rows() - 1u, j);
}
#if !BY_QUADS

// The delta rule: write strength of row i, 0 for padding ..
fn strength(i: u32) -> f32 {
#if CHANNEL
    var value = 0.0;
    if is_row(i) {
        value = table[words_of(i) + 2u * params.d_k];
    }
    return value;
#else
    return table[entry(BETA, i)];
#endif
}

// .. and a partial sum of its gradient, over 64 columns of d_v.
fn strength_part(tile: u32, i: u32) -> u32 {
#if CHANNEL
    return words_of(i) + 2u * params.d_k + 1u + tile;
#else
    return entry(GRAD_BETA + tile, i);
#endif
}
#endif

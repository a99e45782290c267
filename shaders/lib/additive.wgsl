// Additive linear attention, one chunk of one head: rows of queries and keys, which the heads may share, and decay
// factors, a factor a row (`table` of chunk_prep_fwd) or, by CHANNEL, one an element of the keys (`table` of
// channel_factors_fwd: [B, T, H, 2, dk]). Imports: lib/delta; the importing kernel has a binding `table`.
const SHARED: bool = false;
const CHANNEL: bool = false;

const LOG: u32 = 2; // field of the table of chunk_prep_fwd: log decay of the row

// Index of row i of the chunk in [B, T, H] or, shared, in [B, T].
fn key_row(i: u32) -> u32 {
#if SHARED
    return batch * params.t + chunk * C + i;
#else
    return row(i);
#endif
}

// Heads that a workgroup sums over: its own, or all that share the queries and keys.
fn heads_here() -> u32 {
#if SHARED
    return params.h;
#else
    return 1u;
#endif
}

// Decay from the chunk's start to row i, and from row i to the chunk's end, of channel j; by CHANNEL i is a token.
fn decay_in(i: u32, j: u32) -> f32 {
#if CHANNEL
    return table[2u * row(i) * params.dk + j];
#else
    return table[entry(P, i)];
#endif
}

fn decay_out(i: u32, j: u32) -> f32 {
#if CHANNEL
    return table[(2u * row(i) + 1u) * params.dk + j];
#else
    return table[entry(S, i)];
#endif
}

// Decay over the whole chunk.
fn decay_whole(j: u32) -> f32 {
    return decay_in(rows() - 1u, j);
}

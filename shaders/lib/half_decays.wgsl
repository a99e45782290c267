// Decays between the 64 rows of a chunk, each the exponential of a sum of non-positive log decays, added up by blocks of 16.
// Imports: lib/half_chunk; the importing kernel has the bindings of `g` (SCALAR) and keeps vectors of 64 numbers:
// `set_vector(vector, i, x)`, `vector_at(vector, i)` and `vector_quad(vector, i / 4)`. Barriers are the caller's.
const DECAYS: bool = true; // there is a decay a head
const SCALAR: bool = true; // from g, else RetNet's
#import lib/retention

const GATE: u32 = 0; // log decays
const BEFORE: u32 = 1; // their sums from a block's first row to the row
const AFTER: u32 = 2; // from behind the row to its block's last
const DECAY_IN_OF: u32 = 3;
const DECAY_OUT_OF: u32 = 4;

// The log decay of row i, 0 for padding. Below -100 it is as good as that: sums stay small enough to be subtracted.
fn log_decay_of(i: u32) -> f32 {
    var here = 0.0;
#if DECAYS
    if is_row(i) && is_first(i) {
#if SCALAR
        here = max(g[query(token(i))], -100.0);
#else
        here = retention_log_decay(head);
#endif
    }
#endif
    return here;
}

// BEFORE and AFTER of row i, from GATE.
fn set_block_sums(i: u32) {
    let first = i / 16u * 16u;
    var before = 0.0;
    var after = 0.0;
    for (var j = first; j < first + 16u; j++) {
        let here = vector_at(GATE, j);
        before += select(0.0, here, j <= i);
        after += select(0.0, here, j > i);
    }
    set_vector(BEFORE, i, before);
    set_vector(AFTER, i, after);
}

// Log decay from the chunk's start to row i.
fn log_decay_in(i: u32) -> f32 {
    var sum = vector_at(BEFORE, i);
    for (var b = 0u; b < i / 16u; b++) {
        sum += vector_at(BEFORE, 16u * b + 15u);
    }
    return sum;
}

// Log decay from row i to the chunk's end.
fn log_decay_out(i: u32) -> f32 {
    var sum = vector_at(AFTER, i);
    for (var b = i / 16u + 1u; b < 4u; b++) {
        sum += vector_at(BEFORE, 16u * b + 15u);
    }
    return sum;
}

// Decays from the rows j .. j + 3 to row i, where j's block is i's or before it; without sense above the diagonal. In a block
// by a difference of sums of at most 16 log decays, to 2e-4 where one of them is at its limit: below f16's rounding.
fn gam_quad(i: u32, j: u32) -> vec4<f32> {
    var sum = vec4(0.0);
#if DECAYS
    if i / 16u == j / 16u {
        sum = min(vec4(vector_at(BEFORE, i)) - vector_quad(BEFORE, j / 4u), vec4(0.0));
    } else {
        var between = vector_at(BEFORE, i);
        for (var b = j / 16u + 1u; b < i / 16u; b++) {
            between += vector_at(BEFORE, 16u * b + 15u);
        }
        sum = vector_quad(AFTER, j / 4u) + between;
    }
#endif
    return exp(sum);
}

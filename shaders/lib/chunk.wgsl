// One chunk of one head: where the elements of its tensors lie, and the table of row factors that `chunk_prep_fwd`
// writes. A chunk is QUERIES tokens: as many rows of Q and O, and HOUSEHOLDER times as many of K, V and beta, ROWS at
// most, in tiles of C rows. Further rows are padding. What a token has once acts at one of its rows: the log decay at
// the first, the query at the last. SHARED: all heads have the same Q and K.
const HOUSEHOLDER: u32 = 1;
const SHARED: bool = false;
const QUERIES: u32 = CHUNK / HOUSEHOLDER;
const ROWS: u32 = CHUNK / HOUSEHOLDER * HOUSEHOLDER;
// `ends`: chunks, four times, see `chunks_at`.
struct Params { t: u32, h: u32, chunks: u32, d_k: u32, d_v: u32, scale: f32, fields: u32, ends: vec4<u32> }

// Fields of the table, each C words of the block of a (b, h, chunk).
const DECAY_IN: u32 = 0; // decay from the chunk's start to the row
const DECAY_OUT: u32 = 1; // decay from the row to the chunk's end
const BETA: u32 = 2; // write strength (delta rule)
const LOG: u32 = 2; // log decay (the others)
// Backward only. The partial sums take a field each of up to four tiles of 64 columns.
const RECTANGLE: u32 = 3; // sum_{i>=t>j} M_ij
const GRAD_BETA: u32 = 4; // partial sums over d_v
const IN_Q: u32 = 8; // X1_i . q_i, a query each, partial sums over d_k
const IN_K: u32 = 12; // X2_i . k_i
const OUT_K: u32 = 16; // X3_i . k_i
const STATE: u32 = 20; // <S, D>: a word each

var<private> batch: u32;
var<private> head: u32;
var<private> chunk: u32;

// Sets the chunk of a workgroup of a grid (chunks, H, B).
fn set_chunk(wg: vec3<u32>) {
    chunk = wg.x;
    head = wg.y;
    batch = wg.z;
}

// Sets the chunk of a workgroup of a grid (ceil(width / 64) chunks, H, B); returns the number of its 64 columns.
fn set_tile(wg: vec3<u32>, width: u32) -> u32 {
    chunk = chunk_of(wg, width);
    head = wg.y;
    batch = wg.z;
    return wg.x % ((width + 63u) / 64u);
}

// The chunk that `set_tile` sets.
fn chunk_of(wg: vec3<u32>, width: u32) -> u32 {
    return wg.x / ((width + 63u) / 64u);
}

// Index of row i of the chunk in [B, T HOUSEHOLDER, H].
fn row(i: u32) -> u32 {
    return (batch * params.t * HOUSEHOLDER + chunk * ROWS + i) * params.h + head;
}

// Whether row i is a step of a token, not padding. Here and below `&`, not `&&`, which is a branch each time that it is
// inlined: SwiftShader's compiler takes gigabytes for a kernel with some hundred of them.
fn is_row(i: u32) -> bool {
    return (i < ROWS) & (chunk * ROWS + i < params.t * HOUSEHOLDER);
}

// Rows of chunk `c`. A bound of a loop with barriers is uniform only if `c` is one to the compiler: not by `chunk`.
fn rows_of(c: u32) -> u32 {
    return min(ROWS, params.t * HOUSEHOLDER - c * ROWS);
}

// Rows of the chunk.
fn rows() -> u32 {
    return rows_of(chunk);
}

// The inner dimension of a product with the state at the start of chunk `c`: that of the first one is 0 ..
fn from_state(c: u32, width: u32) -> u32 {
    return select(width, 0u, c == 0u);
}

// .. and of one with the gradient of the state after it, which is 0 for the last one. Uniform if `c` is.
fn from_grad_state(c: u32, width: u32) -> u32 {
    return select(width, 0u, c + 1u == params.chunks);
}

// Index of query i of the chunk in [B, T, H].
fn query(i: u32) -> u32 {
    return (batch * params.t + chunk * QUERIES + i) * params.h + head;
}

// Whether query i is one, not padding.
fn is_query(i: u32) -> bool {
    return (i < QUERIES) & (chunk * QUERIES + i < params.t);
}

// Queries of chunk `c`, uniform if `c` is.
fn queries_of(c: u32) -> u32 {
    return min(QUERIES, params.t - c * QUERIES);
}

// Index of row i of K in [B, T HOUSEHOLDER, H] and of row i of Q in [B, T, H] or, SHARED, without H.
#if SHARED
fn key_row(i: u32) -> u32 {
    return batch * params.t * HOUSEHOLDER + chunk * ROWS + i;
}

fn query_row(i: u32) -> u32 {
    return batch * params.t + chunk * QUERIES + i;
}

// Heads that a workgroup sums over: its own, or all that share the queries and keys.
fn heads_here() -> u32 {
    return params.h;
}
#else
fn key_row(i: u32) -> u32 {
    return row(i);
}

fn query_row(i: u32) -> u32 {
    return query(i);
}

fn heads_here() -> u32 {
    return 1u;
}
#endif

#if HOUSEHOLDER > 1
// The token of row i.
fn token(i: u32) -> u32 {
    return i / HOUSEHOLDER;
}

fn is_first(i: u32) -> bool {
    return i % HOUSEHOLDER == 0u;
}

fn is_last(i: u32) -> bool {
    return i % HOUSEHOLDER == HOUSEHOLDER - 1u;
}

// The row at which query i acts; some row for padding.
fn last(i: u32) -> u32 {
    return min(i * HOUSEHOLDER + HOUSEHOLDER - 1u, CHUNK - 1u);
}
#else
fn token(i: u32) -> u32 {
    return i;
}

fn is_first(i: u32) -> bool {
    return true;
}

fn is_last(i: u32) -> bool {
    return true;
}

fn last(i: u32) -> u32 {
    return i;
}
#endif

// Index of the chunk in [B, H, chunks].
fn block() -> u32 {
    return (batch * params.h + head) * params.chunks + chunk;
}

// Index of a table entry.
fn entry(field: u32, i: u32) -> u32 {
    return (block() * params.fields + field) * CHUNK + i;
}

// Which Value of an operand has an element; outside of the operand not `ok`, and some index that can be read.
#import lib/value
struct Spot { at: u32, ok: bool }

fn spot_at(at: u32, ok: bool) -> Spot {
    return Spot(select(0u, at / WIDTH, ok), ok);
}

// Row i, column j of Q [B, T, H or 1, d_k] ..
fn in_queries(i: u32, j: u32) -> Spot {
    return spot_at(query_row(i) * params.d_k + j, is_query(i) & (j < params.d_k));
}

// .. of K [B, T HOUSEHOLDER, H or 1, d_k] ..
fn in_keys(i: u32, j: u32) -> Spot {
    return spot_at(key_row(i) * params.d_k + j, is_row(i) & (j < params.d_k));
}

// .. of V [B, T HOUSEHOLDER, H, d_v] ..
fn in_values(i: u32, j: u32) -> Spot {
    return spot_at(row(i) * params.d_v + j, is_row(i) & (j < params.d_v));
}

// .. of O [B, T, H, d_v] ..
fn in_outputs(i: u32, j: u32) -> Spot {
    return spot_at(query(i) * params.d_v + j, is_query(i) & (j < params.d_v));
}

// .. of S [B, H, chunks, d_k, d_v] ..
fn in_state(i: u32, j: u32) -> Spot {
    return spot_at((block() * params.d_k + i) * params.d_v + j, (i < params.d_k) & (j < params.d_v));
}

// .. of P [B, H, chunks, QUERIES, C] ..
fn in_scores(i: u32, j: u32) -> Spot {
#if HOUSEHOLDER > 1
    return spot_at((block() * QUERIES + i) * CHUNK + j, i < QUERIES);
#else
    return Spot(((block() * CHUNK + i) * CHUNK + j) / WIDTH, true);
#endif
}

// .. and of a matrix of all rows [B, H, chunks, C, C].
fn in_square(i: u32, j: u32) -> Spot {
    return Spot(((block() * CHUNK + i) * CHUNK + j) / WIDTH, true);
}

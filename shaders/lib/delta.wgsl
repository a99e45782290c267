// One chunk of one head and the table of row factors that `chunk_prep_fwd` writes. A chunk is QUERIES tokens: as many
// rows of Q and O, and STEPS times as many of K, V and beta, ROWS at most, in tiles of C rows. Further rows are padding.
// What a token has once acts at one of its rows: the log decay at the first, the query at the last.
const STEPS: u32 = 1;
const QUERIES: u32 = C / STEPS;
const ROWS: u32 = C / STEPS * STEPS;
struct Params { t: u32, h: u32, chunks: u32, dk: u32, dv: u32, scale: f32, fields: u32 }

// Fields of the table, each C words of the block of a (b, h, chunk).
const P: u32 = 0; // decay from the chunk's start to the row
const S: u32 = 1; // decay from the row to the chunk's end
const BETA: u32 = 2;
// Backward only. The partial sums take a field each of up to four tiles of 64 columns.
const RECTANGLE: u32 = 3; // sum_{i>=t>j} M_ij
const D_BETA: u32 = 4; // partial sums over d_v
const IN_Q: u32 = 8; // X1_i . q_i, a query each, partial sums over d_k
const IN_K: u32 = 12; // X2_i . k_i
const OUT_K: u32 = 16; // X3_i . k_i
const STATE: u32 = 20; // <S, D>: a word each

var<private> batch: u32;
var<private> head: u32;
var<private> chunk: u32;

// Index of row i of the chunk in [B, T STEPS, H].
fn row(i: u32) -> u32 {
    return (batch * params.t * STEPS + chunk * ROWS + i) * params.h + head;
}

// Whether row i is a step of a token, not padding.
fn is_row(i: u32) -> bool {
    return i < ROWS && chunk * ROWS + i < params.t * STEPS;
}

// Rows of the chunk.
fn rows() -> u32 {
    return min(ROWS, params.t * STEPS - chunk * ROWS);
}

// Index of query i of the chunk in [B, T, H].
fn query(i: u32) -> u32 {
    return (batch * params.t + chunk * QUERIES + i) * params.h + head;
}

// Whether query i is one, not padding.
fn is_query(i: u32) -> bool {
    return i < QUERIES && chunk * QUERIES + i < params.t;
}

// Queries of the chunk.
fn queries() -> u32 {
    return min(QUERIES, params.t - chunk * QUERIES);
}

#if STEPS > 1
// The token of row i.
fn token(i: u32) -> u32 {
    return i / STEPS;
}

fn is_first(i: u32) -> bool {
    return i % STEPS == 0u;
}

fn is_last(i: u32) -> bool {
    return i % STEPS == STEPS - 1u;
}

// The row at which query i acts; some row for padding.
fn last(i: u32) -> u32 {
    return min(i * STEPS + STEPS - 1u, C - 1u);
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
    return (block() * params.fields + field) * C + i;
}

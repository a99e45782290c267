// One chunk of one head: C tokens, where their rows are, and the table of row factors that `chunk_prep_fwd` writes.
struct Params { t: u32, h: u32, chunks: u32, dk: u32, dv: u32, scale: f32, fields: u32 }

// Fields of the table, each C words of the block of a (b, h, chunk).
const P: u32 = 0; // decay from the chunk's start to the row
const S: u32 = 1; // decay from the row to the chunk's end
const BETA: u32 = 2;
// Backward only. The partial sums take a field each of up to four tiles of 64 columns.
const RECTANGLE: u32 = 3; // sum_{i>=t>j} M_ij
const D_BETA: u32 = 4; // partial sums over d_v
const IN_Q: u32 = 8; // X1_i . q_i, partial sums over d_k
const IN_K: u32 = 12; // X2_i . k_i
const OUT_K: u32 = 16; // X3_i . k_i
const STATE: u32 = 20; // <S, D>: a word each

var<private> batch: u32;
var<private> head: u32;
var<private> chunk: u32;

// Index of row i of the chunk in [B, T, H].
fn row(i: u32) -> u32 {
    return (batch * params.t + chunk * C + i) * params.h + head;
}

// Whether row i is a token, not padding.
fn is_token(i: u32) -> bool {
    return i < C && chunk * C + i < params.t;
}

// Tokens of the chunk.
fn tokens() -> u32 {
    return min(C, params.t - chunk * C);
}

// Index of the chunk in [B, H, chunks].
fn block() -> u32 {
    return (batch * params.h + head) * params.chunks + chunk;
}

// Index of a table entry.
fn entry(field: u32, i: u32) -> u32 {
    return (block() * params.fields + field) * C + i;
}

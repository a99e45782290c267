// A chunk of 64 rows on f16 matrix units: its operands lie ready in memory as blocks of 16 x 16, each whole and row by row,
// padded by zeros. A workgroup has 8 subgroups of 32; a quad is four neighbours of a row. What the products run along is
// 64 columns in workgroup memory, ROW quads a row.
const CHUNK: u32 = 64;
const KEY_BLOCKS: u32 = 8; // of a row of K: ceil(d_k / 16)
const PLAIN: bool = false; // K and Q are there as they are, too; SHARED, only with the first head
const UNIT: bool = false; // Q and K are brought to unit length first
const KEY_QUADS: bool = true; // d_k is a multiple of 4; WIDE, d_v as well
const DELTA: bool = true; // writes correct the state: there are W and Zn
const CHANNEL: bool = false; // a decay by channel
#import lib/chunk

const ROOMY: bool = true; // `chunk_bwd_half_coop` has a multiprocessor for itself, and takes 64 columns of S at a time
const STATE_TILE: u32 = {32 + ROOMY * 32};
const QUERY_BLOCKS: u32 = {(QUERIES + 15) / 16};
const QUADS: u32 = KEY_BLOCKS * 4; // of a row of K
const ROW: u32 = 18; // 16, and two more so that rows start in different banks

// Where the operands of a chunk lie, in quads: W = -(I + Zn diag(beta)) diag(in) K, diag(out) K, scale diag(in) Q, scale P,
// K, Q; decays by channel multiply the elements of K and Q. Without decays K is not there, being diag(out) K. By CHANNEL scale P
// lies elsewhere, as it is kept for the backward pass: [B, H, chunks, C, C], in blocks.
const OF_W: u32 = 0;
const OF_K_OUT: u32 = {DELTA * KEY_BLOCKS * 256};
const OF_Q_IN: u32 = {OF_K_OUT + KEY_BLOCKS * 256};
const OF_P: u32 = {OF_Q_IN + QUERY_BLOCKS * KEY_BLOCKS * 64};
const OF_K: u32 = {OF_P + (1 - CHANNEL) * QUERY_BLOCKS * 256};
const OF_Q: u32 = {OF_K + KEY_BLOCKS * 256};
const OPERANDS: u32 = {OF_K + PLAIN * (KEY_BLOCKS * 256 + QUERY_BLOCKS * KEY_BLOCKS * 64)};
// UNIT, fields of the table: what the rows of Q and K are multiplied by.
const UNIT_QUERY: u32 = 3;
const UNIT_KEY: u32 = 4;
// Quads of Zn = -(I + G diag(beta))^-1 G, strictly below the diagonal: (I + G diag(beta))^-1 = I + Zn diag(beta).
const SQUARE: u32 = 1024;

alias FragA = coop_mat16x16<f16, A>;
alias FragB = coop_mat16x16<f16, B>;
alias FragC = coop_mat16x16<f32, C>;

// Where quad c of row i of dVn is: [B, T HOUSEHOLDER, H, d_v], of rows of whole quads or, DELTA, padded to them.
fn in_errors(i: u32, c: u32) -> Spot {
#if WIDE
    return in_values(i, 4u * c);
#else
    let ok = is_row(i) & (4u * c < params.d_v);
    return Spot(select(0u, row(i) * ((params.d_v + 3u) / 4u) + c, ok), ok);
#endif
}
#if KEY_QUADS

// Where quad c of row i of K is.
fn key_place(i: u32, c: u32) -> Spot {
    let spot = in_keys(i, 4u * c);
    return Spot(spot.at / {4 - 3 * WIDE}u, spot.ok);
}
#endif
#if !WIDE

// Four neighbours of a row of `width` from `spot`, its column j, on; zeros behind the row.
fn row_end(x: vec4<f16>, spot: Spot, j: u32, width: u32) -> vec4<f16> {
    let inside = (vec4(j) + vec4(0u, 1u, 2u, 3u) < vec4(width)) & vec4(spot.ok);
    return select(vec4<f16>(), x, inside);
}
#endif

// Place of quad c of row i in blocks, `blocks` of them side by side.
fn block_place(i: u32, c: u32, blocks: u32) -> u32 {
    return (i / 16u * blocks + c / 4u) * 64u + i % 16u * 4u + c % 4u;
}

// Chunks, and rows of the chunk, read anew in step i, from a place that changes: a driver that knew them, or how many rows
// there can be, would unroll loops and take five times as long to compile them.
fn chunks_at(i: u32) -> u32 {
    return params.ends[i % 4u];
}

fn rows_at(i: u32) -> u32 {
    return min(ROWS + chunks_at(i) - params.chunks, params.t * HOUSEHOLDER - chunk * ROWS);
}

// Index of the chunk whose operands have K and Q as they are.
fn plain_block() -> u32 {
#if SHARED
    return batch * params.h * params.chunks + chunk;
#else
    return block();
#endif
}

// Row of place w in 4 x 4 blocks, and its first column.
fn row_of(w: u32) -> u32 {
    return w / 256u * 16u + w % 64u / 4u;
}

fn column_of(w: u32) -> u32 {
    return w / 64u % 4u * 16u + w % 4u * 4u;
}

// Quads of a row of the saved states, padded to whole tiles of `state_fwd_half_coop` and of `chunk_bwd_half_coop`.
fn state_quads() -> u32 {
    return (params.d_v + {STATE_TILE - 1}u) / STATE_TILE * {STATE_TILE / 4}u;
}

// Where quad c of row i of the chunk's state is: in blocks.
fn state_place(i: u32, c: u32) -> u32 {
    return block() * KEY_BLOCKS * 16u * state_quads() + block_place(i, c, state_quads() / 4u);
}

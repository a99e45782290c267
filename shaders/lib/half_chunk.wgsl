// A chunk of 64 rows on f16 matrix units: its operands lie ready in memory as blocks of 16 x 16, each whole and row by row,
// padded by zeros. A workgroup has 8 subgroups of 32; a quad is four neighbours of a row. What the products run along is
// 64 columns in workgroup memory, ROW quads a row.
const CHUNK: u32 = 64;
const KEY_BLOCKS: u32 = 8; // of a row of K: ceil(d_k / 16)
const PLAIN: bool = false; // K and Q are there as they are, too
const DELTA: bool = true; // writes correct the state: there are W, Tm and G
#import lib/chunk

const QUERY_BLOCKS: u32 = {(QUERIES + 15) / 16};
const QUADS: u32 = KEY_BLOCKS * 4; // of a row of K
const ROW: u32 = 18; // 16, and two more so that rows start in different banks

// Where the operands of a chunk lie, in quads: W = -Tm diag(in) K, diag(out) K, scale diag(in) Q, scale P, K, Q; decays by
// channel multiply the elements of K and Q.
const OF_W: u32 = 0;
const OF_K_OUT: u32 = {DELTA * KEY_BLOCKS * 256};
const OF_Q_IN: u32 = {OF_K_OUT + KEY_BLOCKS * 256};
const OF_P: u32 = {OF_Q_IN + QUERY_BLOCKS * KEY_BLOCKS * 64};
const OF_K: u32 = {OF_P + QUERY_BLOCKS * 256};
const OF_Q: u32 = {OF_K + KEY_BLOCKS * 256};
const OPERANDS: u32 = {OF_K + PLAIN * (KEY_BLOCKS * 256 + QUERY_BLOCKS * KEY_BLOCKS * 64)};
// Tm = (I + G diag(beta))^-1 and G, 4 x 4 blocks each.
const OF_TM: u32 = 0;
const OF_G: u32 = 1024;
const SQUARES: u32 = 2048;

alias FragA = coop_mat16x16<f16, A>;
alias FragB = coop_mat16x16<f16, B>;
alias FragC = coop_mat16x16<f32, C>;

// Place of quad c of row i in blocks, `blocks` of them side by side.
fn block_place(i: u32, c: u32, blocks: u32) -> u32 {
    return (i / 16u * blocks + c / 4u) * 64u + i % 16u * 4u + c % 4u;
}

// Quads of a row of the saved states, padded to whole tiles of 64 columns.
fn state_quads() -> u32 {
    return (params.d_v + 63u) / 64u * 16u;
}

// Where quad c of row i of the chunk's state is: in blocks.
fn state_place(i: u32, c: u32) -> u32 {
    return block() * KEY_BLOCKS * 16u * state_quads() + block_place(i, c, state_quads() / 4u);
}

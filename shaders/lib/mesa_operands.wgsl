// A chunk of 64 rows of MesaNet's system for f16 matrix units, scaled on both sides by diag(lambda)^-1/2, so that CG needs no
// preconditioner: M' of the state at the chunk's start and K', as pairs of f16 (lib/split) in blocks of 16 x 16, each whole
// and row by row, padded by zeros.
const CHUNK: u32 = 64;
const KEY_BLOCKS: u32 = 8; // ceil(D / 16)
const COLS: u32 = {(KEY_BLOCKS + 3) / 4}; // blocks of a row that a subgroup computes; four of them share a row
#import lib/chunk
#import lib/split

const ROW_BLOCKS: u32 = {4 * COLS}; // of a row of M' and K'
// Where they begin, in quads.
const OF_M: u32 = 0;
const OF_M_LOW: u32 = {KEY_BLOCKS * ROW_BLOCKS * 64};
const OF_K: u32 = {2 * OF_M_LOW};
const OF_K_LOW: u32 = {OF_K + 4 * ROW_BLOCKS * 64};
const OPERANDS: u32 = {OF_K_LOW + 4 * ROW_BLOCKS * 64};

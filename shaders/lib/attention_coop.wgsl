// What the attention kernels on matrix units share. A workgroup of 4 subgroups of 32 owns 64 rows of one (b, h); a
// subgroup keeps its 16 in registers as operands, with whole output rows in f32 accumulators, and all walk along tiles of
// 16 rows of two other operands in workgroup memory. Head widths are padded by zeros to a multiple of 16; a row of a tile is
// 8 f16 longer than that, so that rows start in different banks. The host guarantees D % 4 == 0.
//
// A 16 x 16 block of scores goes from its accumulator through `block` to the lanes, and as weights through `pair` back into an
// operand. A lane has one query, lane / 2, and of the keys the 4 from `keys` on and the 4 from keys + 8 on.
//
// SPLIT: f32 accuracy from pairs of f16 (lib/split), of operands that are times a power of two. Sums over rows then begin anew
// with every tile and are added up in f32, since the matrix unit truncates. Else operands are f16 as they are.
//
// The importing kernel declares what lib/attention_rows asks for. Grid: [ceil(T / 64), B H]; attention_fwd_coop has a form with twice
// the rows.
#import lib/attention_rows
#import lib/split

const D: u32 = 128;
const SPLIT: bool = true;

const BLOCKS: u32 = (D + 15u) / 16u; // of 16 columns
const WHOLE: bool = D % 16u == 0u;
const QUADS: u32 = 4u * BLOCKS; // of a padded row
const PITCH: u32 = QUADS + 2u; // from a tile's row to the next
const TILE: u32 = 16u * PITCH;
// Quads from a row of `pair` to the next: rows start in different banks, where all of it still fits half of 48 KiB.
const NEXT: u32 = {4 + 2 * (!SPLIT && BLOCKS < 16)};
const PAIR: u32 = 16u * NEXT;
const LOADS: u32 = (BLOCKS + 1u) / 2u; // quads of a tile that a thread loads
const LOG2_E: f32 = 1.4426950408889634;
const LN_2: f32 = 0.6931471805599453;

#if SPLIT
alias Quad = vec4<f32>;
#else
alias Quad = vec4<f16>;
#endif

alias FragA = coop_mat16x16<f16, A>;
alias FragB = coop_mat16x16<f16, B>;
alias FragC = coop_mat16x16<f32, C>;

var<workgroup> near: array<vec4<f16>, TILE>;
var<workgroup> far: array<vec4<f16>, TILE>;
#if SPLIT
var<workgroup> near_low: array<vec4<f16>, TILE>;
var<workgroup> far_low: array<vec4<f16>, TILE>;
#endif
// [4 subgroups, 16, 20]; with decays, the last four of a row keep a key's sum of log decays.
var<workgroup> block: array<vec4<f32>, 320>;
var<workgroup> pair: array<vec4<f16>, 4u * PAIR>; // [4 subgroups, 16, 4 NEXT], of which 16 columns are used

// Components 4 c .. of the operand's row at step t; the last row past the end of the sequence, zeros past the end of a row.
fn fetch(operand: u32, t: u32, c: u32) -> Quad {
    let row = first + min(t, params.t - 1u) * params.h;
#if WHOLE
    return Quad(value(operand, row * (D / 4u) + c));
#else
    let inner = min(c, (D - 1u) / 4u);
    let x = Quad(value(operand, row * (D / 4u) + inner));
    return select(Quad(), x, inside(c, D));
#endif
}

// An operand's quad times its power of two, which only pairs need.
fn scaled(x: Quad, scale: f32) -> Quad {
#if SPLIT
    return x * scale;
#else
    return x;
#endif
}

// What of an operand's quad fits an f16.
fn top_half(x: Quad) -> vec4<f16> {
#if SPLIT
    return narrow(x);
#else
    return x;
#endif
}

// x as f16, or what of it fits one.
fn narrow(x: vec4<f32>) -> vec4<f16> {
#if SPLIT
    return vec4<f16>(high(x));
#else
    return vec4<f16>(x);
#endif
}

// What `narrow` leaves.
fn rest(x: vec4<f32>) -> vec4<f16> {
    return vec4<f16>(x - high(x));
}

// A thread's quads of a tile.
fn put_tile(row: u32, quad: u32, x: Quad, y: Quad) {
    let at = row * PITCH + quad;
    near[at] = top_half(x);
    far[at] = top_half(y);
#if SPLIT
    near_low[at] = rest(x);
    far_low[at] = rest(y);
#endif
}

// Two quads of a lane, `apart` from each other, when all lanes have read what was there.
fn put_pair(at: u32, apart: u32, x: vec4<f16>, y: vec4<f16>) {
    subgroupBarrier();
    pair[at] = x;
    pair[at + apart] = y;
    subgroupBarrier();
}

// Scores of one query and four keys in a row.
fn scores_at(at: u32, part: u32) -> vec4<f32> {
    return vec4<f32>(block[at][part], block[at + 5u][part], block[at + 10u][part], block[at + 15u][part]);
}

fn largest(a: vec4<f32>, b: vec4<f32>) -> f32 {
    let m = max(a, b);
    return max(max(m.x, m.y), max(m.z, m.w));
}

fn total(x: vec4<f32>) -> f32 {
    return (x.x + x.y) + (x.z + x.w);
}

// NaN if a largest magnitude is not finite, else x.
fn unless_infinite(x: f32, amax: u32) -> f32 {
    return bitcast<f32>(select(bitcast<u32>(x), 0x7fc00000u, amax >= 0x7f800000u));
}
#if FORGET

fn keep_sum(at_block: u32, key: u32, sum: vec2<i32>) {
    block[at_block + 5u * key + 4u] = vec4<f32>(bitcast<vec2<f32>>(sum), 0.0, 0.0);
}

// Of the keys from `key` on.
fn kept_sums(at_block: u32, key: u32) -> Sums {
#for j in 0..4
    let sum{j} = bitcast<vec2<i32>>(block[at_block + 5u * (key + {j}u) + 4u].xy);
#end
    return sums_at(sum0, sum1, sum2, sum3);
}
#endif

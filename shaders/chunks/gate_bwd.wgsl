// Gradients of a chunk's log decays and, DELTA, of its write strengths, from the table's partial sums, added in the order
// of the tiles: dg_t = rectangle_t + sum_{i>=t} (X1_i . q_i - [DELTA] X2_i . k_i) + sum_{j<t} X3_j . k_j + a <S, D> at the
// first row t of each token. A workgroup a (chunk, h, b); grid (chunks, H, B). DECAYS: there are log decays.
const DECAYS: bool = true;
const DELTA: bool = false;
const CHUNK: u32 = 64;
#import lib/chunk
#import lib/row_decays

@group(0) @binding(0) var<storage, read_write> table: array<f32>; // [B, H, chunks, fields, C]
#if DELTA
@group(0) @binding(1) var<storage, read_write> grad_beta: array<f32>; // [B, T HOUSEHOLDER, H]
#endif
#if DECAYS
@group(0) @binding(2) var<storage, read_write> grad_g: array<f32>; // [B, T, H]
#endif
@group(0) @binding(3) var<uniform> params: Params;

var<workgroup> inward: array<f32, CHUNK>;
var<workgroup> outward: array<f32, CHUNK>;

@compute @workgroup_size({CHUNK})
fn gate_bwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    set_chunk(wg);
    let here = is_row(lane);
#if DELTA
    var sum_of_parts = 0.0;
    if here {
        for (var tile = 0u; tile < (params.d_v + 63u) / 64u; tile++) {
            sum_of_parts += table[strength_part(tile, lane)];
        }
        grad_beta[row(lane)] = sum_of_parts;
    }
#endif
#if DECAYS
    var into = 0.0;
    var out_of = 0.0;
    var state = 0.0;
    for (var tile = 0u; tile < (params.d_k + 63u) / 64u; tile++) {
        var of_row = 0.0;
        if is_last(lane) {
            of_row = table[entry(IN_Q + tile, token(lane))];
        }
#if DELTA
        of_row -= table[entry(IN_K + tile, lane)];
#endif
        into += of_row;
        out_of += table[entry(OUT_K + tile, lane)];
        state += table[entry(STATE, tile)];
    }
    inward[lane] = into;
    outward[lane] = out_of;
    workgroupBarrier();
    var sum = table[entry(DECAY_IN, CHUNK - 1u)] * state + table[entry(RECTANGLE, lane)];
    for (var i = 0u; i < CHUNK; i++) {
        sum += select(inward[i], outward[i], i < lane);
    }
    if here && is_first(lane) {
        grad_g[query(token(lane))] = sum;
    }
#endif
}

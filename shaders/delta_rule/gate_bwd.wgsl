// dbeta and dg of a chunk from the table's partial sums, added in the order of the tiles. A workgroup a (chunk, h,
// b); grid (chunks, H, B). dg_t = rectangle_t + sum_{i>=t} (X1_i . q_i - X2_i . k_i) + sum_{j<t} X3_j . k_j + a <S,
// D> at the first row t of each token.
const GATED: bool = true;
const C: u32 = 64;
#import lib/delta

@group(0) @binding(0) var<storage, read_write> table: array<f32>; // [B, H, chunks, fields, C]
@group(0) @binding(1) var<storage, read_write> d_beta: array<f32>; // [B, T STEPS, H]
#if GATED
@group(0) @binding(2) var<storage, read_write> d_g: array<f32>; // [B, T, H]
#endif
@group(0) @binding({2 + GATED}) var<uniform> params: Params;

var<workgroup> inward: array<f32, C>;
var<workgroup> outward: array<f32, C>;

@compute @workgroup_size({C})
fn gate_bwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    chunk = wg.x;
    head = wg.y;
    batch = wg.z;
    let here = is_row(lane);
    var sum = 0.0;
    for (var tile = 0u; tile < (params.dv + 63u) / 64u; tile++) {
        sum += table[entry(D_BETA + tile, lane)];
    }
    if here {
        d_beta[row(lane)] = sum;
    }
#if GATED
    var into = 0.0;
    var out_of = 0.0;
    var state = 0.0;
    for (var tile = 0u; tile < (params.dk + 63u) / 64u; tile++) {
        var of_query = 0.0;
        if is_last(lane) {
            of_query = table[entry(IN_Q + tile, token(lane))];
        }
        into += of_query - table[entry(IN_K + tile, lane)];
        out_of += table[entry(OUT_K + tile, lane)];
        state += table[entry(STATE, tile)];
    }
    inward[lane] = into;
    outward[lane] = out_of;
    workgroupBarrier();
    sum = table[entry(P, C - 1u)] * state + table[entry(RECTANGLE, lane)];
    for (var i = 0u; i < C; i++) {
        sum += select(inward[i], outward[i], i < lane);
    }
    if here && is_first(lane) {
        d_g[query(token(lane))] = sum;
    }
#endif
}

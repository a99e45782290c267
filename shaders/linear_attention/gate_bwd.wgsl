// dg of a chunk, one log decay a token, from the table's partial sums, added in the order of the tiles: dg_t =
// rectangle_t + sum_{i>=t} X1_i . q_i + sum_{j<t} X3_j . k_j + a <S, D>. A workgroup a (chunk, h, b); grid (chunks, H,
// B).
const C: u32 = 64;
#import lib/delta

@group(0) @binding(0) var<storage, read_write> table: array<f32>; // [B, H, chunks, fields, C]
@group(0) @binding(1) var<storage, read_write> d_g: array<f32>; // [B, T, H]
@group(0) @binding(2) var<uniform> params: Params;

var<workgroup> inward: array<f32, C>;
var<workgroup> outward: array<f32, C>;

@compute @workgroup_size({C})
fn gate_bwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    chunk = wg.x;
    head = wg.y;
    batch = wg.z;
    var into = 0.0;
    var out_of = 0.0;
    var state = 0.0;
    for (var tile = 0u; tile < (params.dk + 63u) / 64u; tile++) {
        into += table[entry(IN_Q + tile, lane)];
        out_of += table[entry(OUT_K + tile, lane)];
        state += table[entry(STATE, tile)];
    }
    inward[lane] = into;
    outward[lane] = out_of;
    workgroupBarrier();
    var sum = table[entry(P, C - 1u)] * state + table[entry(RECTANGLE, lane)];
    for (var i = 0u; i < C; i++) {
        sum += select(inward[i], outward[i], i < lane);
    }
    if is_row(lane) {
        d_g[row(lane)] = sum;
    }
}

// O = scale (diag(p) Q S + P Vn) of a chunk, with Vn in `o` before where a token is one step. A workgroup a (64 columns
// of d_v and chunk, h, b); grid (ceil(dv / 64) chunks, H, B). Source: Yang et al. 2024, section 3.
alias t_q = f32;
alias t_o = f32;
alias t_vn = f32;
#import lib/tile
#import lib/chunk
#import lib/store

@group(0) @binding(0) var<storage, read_write> q: array<t_q>; // [B, T, H, dk]
@group(0) @binding(1) var<storage, read_write> s: array<f32>; // [B, H, chunks, dk, dv]
@group(0) @binding(2) var<storage, read_write> p: array<f32>; // [B, H, chunks, QUERIES, C]
@group(0) @binding(3) var<storage, read_write> table: array<f32>; // [B, H, chunks, fields, C]
@group(0) @binding(4) var<storage, read_write> o: array<t_o>; // [B, T, H, dv]
#if STEPS > 1
@group(0) @binding(5) var<storage, read_write> vn: array<t_vn>; // [B, T STEPS, H, dv]
#endif
@group(0) @binding({5 + (STEPS > 1)}) var<uniform> params: Params;

const OF_Q: u32 = 0;
const OF_S: u32 = 1;
const OF_P: u32 = 2;
const OF_VN: u32 = 3;

fn element(operand: u32, i: u32, j: u32) -> f32 {
    var spot: Place;
    var value = 0.0;
    if operand == OF_Q {
        spot = in_queries(i, j);
        value = f32(q[spot.at]);
    } else if operand == OF_S {
        spot = in_state(i, j);
        value = s[spot.at];
    } else if operand == OF_P {
        spot = in_scores(i, j);
        value = p[spot.at];
    } else {
        spot = in_values(i, j);
#if STEPS > 1
        value = f32(vn[spot.at]);
#else
        value = f32(o[spot.at]);
#endif
    }
    return select(0.0, value, spot.ok);
}

fn store(at: u32, value: f32) {
    o[at] = t_o(params.scale * value);
}

@compute @workgroup_size({THREADS})
fn output_fwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let n0 = set_tile(wg, params.dv) * 64u;
    tile_lanes(lane);
    var t = product(zero_tile(), OF_Q, false, 0u, OF_S, false, n0, params.dk);
#for r in 0..4
    t.r{r} *= table[entry(P, last(4u * y + {r}u))];
#end
    t = product(t, OF_P, false, 0u, OF_VN, false, n0, rows());
    storageBarrier();
    store_outputs(t, n0);
}

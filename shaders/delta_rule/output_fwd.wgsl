// O = scale (diag(in) Q S + P Vn) of a chunk, with Vn in `o` before, or APART from it. A workgroup a (64 columns
// of d_v and chunk, h, b); grid (ceil(d_v / 64) chunks, H, B). Source: Yang et al. 2024, section 3.
alias t_q = f32;
alias t_o = f32;
alias t_vn = f32;
const APART: bool = false;
#import lib/tile
#import lib/chunk
#import lib/store
#import lib/row_decays

#if WIDE
alias a_o = vec4<t_o>;
alias a_q = vec4<t_q>;
alias a_vn = vec4<t_vn>;
#else
alias a_o = t_o;
alias a_q = t_q;
alias a_vn = t_vn;
#endif

@group(0) @binding(0) var<storage, read_write> q: array<a_q>; // [B, T, H, d_k]
@group(0) @binding(1) var<storage, read_write> states: array<Value>; // [B, H, chunks, d_k, d_v]
@group(0) @binding(2) var<storage, read_write> scores: array<Value>; // [B, H, chunks, QUERIES (by CHANNEL C), C]
@group(0) @binding(3) var<storage, read_write> table: array<f32>; // [B, H, chunks, fields, C]
@group(0) @binding(4) var<storage, read_write> o: array<a_o>; // [B, T, H, d_v]
#if APART
@group(0) @binding(5) var<storage, read_write> vn: array<a_vn>; // [B, T HOUSEHOLDER, H, d_v]
#endif
@group(0) @binding(6) var<uniform> params: Params;

const OF_Q: u32 = 0; // diag(in) Q
const OF_STATE: u32 = 1;
const OF_SCORES: u32 = 2;
const OF_VN: u32 = 3;

fn element(operand: u32, i: u32, j: u32) -> Value {
    var spot: Spot;
    var value = Value();
    if operand == OF_Q {
        spot = in_queries(i, j);
        value = Value(q[spot.at]);
        value *= decays_in(last(select(0u, i, spot.ok)), select(0u, j, spot.ok));
    } else if operand == OF_STATE {
        spot = in_state(i, j);
        value = states[spot.at];
    } else if operand == OF_SCORES {
#if CHANNEL
        spot = in_square(last(i), j);
#else
        spot = in_scores(i, j);
#endif
        value = scores[spot.at];
    } else {
        spot = in_values(i, j);
#if APART
        value = Value(vn[spot.at]);
#else
        value = Value(o[spot.at]);
#endif
    }
    return select(Value(), value, spot.ok);
}

fn store(at: u32, value: Value) {
    o[at] = a_o(params.scale * value);
}

@compute @workgroup_size({THREADS})
fn output_fwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let n0 = set_tile(wg, params.d_v) * 64u;
    tile_lanes(lane);
    let here = chunk_of(wg, params.d_v);
    let t = products(
        zero_tile(), 0u, n0,
        OF_Q, false, OF_STATE, false, from_state(here, params.d_k),
        OF_SCORES, false, OF_VN, false, rows_of(here),
    );
    storageBarrier();
    store_outputs(t, n0);
}

// The part of dK inside a chunk, E^T Q + (F + F^T) K, added to the other. A workgroup a (64 columns of d_k and
// chunk, h, b); grid (ceil(d_k / 64) chunks, H, B).
alias t_q = f32;
alias t_k = f32;
alias t_grad_k = f32;
#import lib/tile
#import lib/chunk
#import lib/store

#if WIDE
alias a_grad_k = vec4<t_grad_k>;
alias a_k = vec4<t_k>;
alias a_q = vec4<t_q>;
#else
alias a_grad_k = t_grad_k;
alias a_k = t_k;
alias a_q = t_q;
#endif

@group(0) @binding(0) var<storage, read_write> q: array<a_q>; // [B, T, H, d_k]
@group(0) @binding(1) var<storage, read_write> k: array<a_k>; // [B, T HOUSEHOLDER, H, d_k]
@group(0) @binding(2) var<storage, read_write> e: array<Value>; // [B, H, chunks, QUERIES, C]
@group(0) @binding(3) var<storage, read_write> f: array<Value>; // [B, H, chunks, C, C]: F + F^T, the diagonal 0
@group(0) @binding(4) var<storage, read_write> grad_k: array<a_grad_k>; // [B, T HOUSEHOLDER, H, d_k]
@group(0) @binding(5) var<uniform> params: Params;

const OF_Q: u32 = 0;
const OF_K: u32 = 1;
const OF_E: u32 = 2;
const OF_F: u32 = 3;

fn element(operand: u32, i: u32, j: u32) -> Value {
    var spot: Spot;
    var value = Value();
    if operand == OF_E {
        spot = in_scores(i, j);
        value = e[spot.at];
    } else if operand == OF_F {
        spot = in_square(i, j);
        value = f[spot.at];
    } else if operand == OF_Q {
        spot = in_queries(i, j);
        value = Value(q[spot.at]);
    } else {
        spot = in_keys(i, j);
        value = Value(k[spot.at]);
    }
    return select(Value(), value, spot.ok);
}

fn store(at: u32, value: Value) {
    grad_k[at] = a_grad_k(Value(grad_k[at]) + value);
}

@compute @workgroup_size({THREADS})
fn key_chunk_bwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let n0 = set_tile(wg, params.d_k) * 64u;
    tile_lanes(lane);
    let here = chunk_of(wg, params.d_k);
    let t = products(
        zero_tile(), 0u, n0,
        OF_E, true, OF_Q, false, queries_of(here),
        OF_F, false, OF_K, false, rows_of(here),
    );
    store_keys(t, n0);
}

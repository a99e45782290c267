// The part of dK that goes through the states, X3 - X2 with X2 = diag(in) dV S^T and X3 = diag(out) Vn D^T, and for the
// log decays X2_i . k_i, X3_i . k_i and <S, D>. A workgroup a (64 columns of d_k and chunk, h, b); grid (ceil(d_k /
// 64) chunks, H, B).
alias t_k = f32;
alias t_grad_v = f32;
alias t_grad_k = f32;
#import lib/tile
#import lib/chunk
#import lib/store
#import lib/state_sum

#if WIDE
alias a_grad_k = vec4<t_grad_k>;
alias a_grad_v = vec4<t_grad_v>;
alias a_k = vec4<t_k>;
#else
alias a_grad_k = t_grad_k;
alias a_grad_v = t_grad_v;
alias a_k = t_k;
#endif

@group(0) @binding(0) var<storage, read_write> k: array<a_k>; // [B, T HOUSEHOLDER, H, d_k]
@group(0) @binding(1) var<storage, read_write> states: array<Value>; // [B, H, chunks, d_k, d_v]
@group(0) @binding(2) var<storage, read_write> grad_states: array<Value>; // [B, H, chunks, d_k, d_v]
@group(0) @binding(3) var<storage, read_write> table: array<f32>; // [B, H, chunks, fields, C]
@group(0) @binding(4) var<storage, read_write> vn: array<Value>; // [B, T HOUSEHOLDER, H, d_v]
@group(0) @binding(5) var<storage, read_write> grad_v: array<a_grad_v>; // [B, T HOUSEHOLDER, H, d_v]
@group(0) @binding(6) var<storage, read_write> grad_k: array<a_grad_k>; // [B, T HOUSEHOLDER, H, d_k]
@group(0) @binding(7) var<uniform> params: Params;

const OF_K: u32 = 0;
const OF_STATE: u32 = 1;
const OF_GRAD_STATE: u32 = 2;
const OF_VN: u32 = 3;
const OF_GRAD_V: u32 = 4;

fn element(operand: u32, i: u32, j: u32) -> Value {
    var spot: Spot;
    var value = Value();
    if operand == OF_K {
        spot = in_keys(i, j);
        value = Value(k[spot.at]);
    } else if operand == OF_STATE {
        spot = in_state(i, j);
        value = states[spot.at];
    } else if operand == OF_GRAD_STATE {
        spot = in_state(i, j);
        value = grad_states[spot.at];
    } else if operand == OF_VN {
        spot = in_values(i, j);
        value = vn[spot.at];
    } else {
        spot = in_values(i, j);
        value = Value(grad_v[spot.at]);
    }
    return select(Value(), value, spot.ok);
}

fn store(at: u32, value: Value) {
    grad_k[at] = a_grad_k(value);
}

@compute @workgroup_size({THREADS})
fn key_state_bwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = set_tile(wg, params.d_k);
    let n0 = tile * 64u;
    tile_lanes(lane);
    let i = 4u * y;
    let j = n0 + 4u * x;
    let here = chunk_of(wg, params.d_k);
    var x2 = product(zero_tile(), OF_GRAD_V, false, 0u, OF_STATE, true, n0, from_state(here, params.d_v));
    var x3 = product(zero_tile(), OF_VN, false, 0u, OF_GRAD_STATE, true, n0, from_grad_state(here, params.d_v));
    var in_part: vec4<f32>;
    var out_part: vec4<f32>;
#for r in 0..4
    x2.r{r} *= table[entry(DECAY_IN, i + {r}u)];
    x3.r{r} *= table[entry(DECAY_OUT, i + {r}u)];
    let k{r} = elements(OF_K, i + {r}u, j);
    in_part[{r}] = dot(x2.r{r}, k{r});
    out_part[{r}] = dot(x3.r{r}, k{r});
    x3.r{r} -= x2.r{r};
#end
    store_keys(x3, n0);
    let in_sum = row_sums(in_part, lane);
    let out_sum = row_sums(out_part, lane);
    if lane < CHUNK {
        table[entry(IN_K + tile, lane)] = in_sum;
        table[entry(OUT_K + tile, lane)] = out_sum;
    }
    write_state_sum(tile, lane);
}

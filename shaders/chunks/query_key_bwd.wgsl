// dQ = X1 + E K with X1 = diag(in) Do S^T or, KEYS, dK = X3 + E^T Q with X3 = diag(out) V D^T, summed over the heads
// that share queries and keys. SCALAR: for the log decays also X1_i . q_i or X3_i . k_i and <S, D>. A workgroup a (64
// columns of d_k and chunk, h, b); grid (ceil(d_k / 64) chunks, H or 1, B). The delta rule's dQ is the same, with
// HOUSEHOLDER rows of K a token; for KEYS, HOUSEHOLDER is 1 and all rows are alike.
const KEYS: bool = false;
const SCALAR: bool = true;
alias t_own = f32;
alias t_other = f32;
alias t_values = f32;
alias t_grad_own = f32;
#import lib/tile
#import lib/chunk
#import lib/store

#if WIDE
alias a_grad_own = vec4<t_grad_own>;
alias a_other = vec4<t_other>;
alias a_own = vec4<t_own>;
alias a_values = vec4<t_values>;
#else
alias a_grad_own = t_grad_own;
alias a_other = t_other;
alias a_own = t_own;
alias a_values = t_values;
#endif

@group(0) @binding(0) var<storage, read_write> own: array<a_own>; // Q or K [B, T, H or 1, d_k]
@group(0) @binding(1) var<storage, read_write> other: array<a_other>; // K or Q [B, T HOUSEHOLDER, H or 1, d_k]
@group(0) @binding(2) var<storage, read_write> values: array<a_values>; // dO or V [B, T, H, d_v]
@group(0) @binding(3) var<storage, read_write> states: array<Value>; // [B, H, chunks, d_k, d_v]
@group(0) @binding(4) var<storage, read_write> e: array<Value>; // [B, H, chunks, QUERIES, C]
@group(0) @binding(5) var<storage, read_write> table: array<f32>; // [B, H, chunks, fields, C]
@group(0) @binding(6) var<storage, read_write> grad_own: array<a_grad_own>; // dQ or dK [B, T, H or 1, d_k]
#if KEYS
@group(0) @binding(7) var<storage, read_write> grad_states: array<Value>; // [B, H, chunks, d_k, d_v]
#endif
@group(0) @binding(8) var<uniform> params: Params;

const APART: bool = SCALAR || SHARED; // the first term is a product by itself
#if KEYS
#import lib/state_sum
const DECAY: u32 = DECAY_OUT;
const SUMS: u32 = OUT_K;
#else
const DECAY: u32 = DECAY_IN;
const SUMS: u32 = IN_Q;
#endif

const OF_OWN: u32 = 0;
const OF_OTHER: u32 = 1;
const OF_VALUES: u32 = 2; // scale dO or V
const OF_STATE: u32 = 3; // S or D
const OF_E: u32 = 4; // the sum of those of heads_here(), from `head` on

fn element(operand: u32, i: u32, j: u32) -> Value {
    var spot: Spot;
    var value = Value();
    if operand == OF_OWN {
        spot = in_queries(i, j);
        value = Value(own[spot.at]);
    } else if operand == OF_OTHER {
        spot = in_keys(i, j);
        value = Value(other[spot.at]);
    } else if operand == OF_VALUES {
        spot = in_outputs(i, j);
        value = Value(values[spot.at]);
#if !KEYS
        value *= params.scale;
#endif
#if !APART
        value *= table[entry(DECAY, last(select(0u, i, spot.ok)))];
#endif
    } else if operand == OF_STATE {
        spot = in_state(i, j);
#if KEYS
        value = grad_states[spot.at];
#else
        value = states[spot.at];
#endif
    } else {
        spot = in_scores(i, j);
        value = e[spot.at];
        for (var n = 1u; n < heads_here(); n++) {
            value += e[spot.at + n * params.chunks * QUERIES * CHUNK / WIDTH];
        }
    }
    return select(Value(), value, spot.ok);
}

fn store(at: u32, value: Value) {
    grad_own[at] = a_grad_own(value);
}

@compute @workgroup_size({THREADS})
fn query_key_bwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = set_tile(wg, params.d_k);
    let n0 = tile * 64u;
    tile_lanes(lane);
    let i = 4u * y;
    let j = n0 + 4u * x;
    let here = chunk_of(wg, params.d_k);
#if KEYS
    let reach = from_grad_state(here, params.d_v);
#else
    let reach = from_state(here, params.d_v);
#endif
#if APART
    var total = zero_tile();
    for (var n = 0u; n < heads_here(); n++) {
        head = wg.y + n;
        let t = product(zero_tile(), OF_VALUES, false, 0u, OF_STATE, true, n0, reach);
        var part: vec4<f32>;
#for r in 0..4
        let through_{r} = t.r{r} * table[entry(DECAY, last(i + {r}u))];
        total.r{r} += through_{r};
#if SCALAR
        part[{r}] = dot(through_{r}, elements(OF_OWN, i + {r}u, j));
#endif
#end
#if SCALAR
        let sum = row_sums(part, lane);
        if lane < CHUNK {
            table[entry(SUMS + tile, lane)] = sum;
        }
#if KEYS
        write_state_sum(tile, lane);
#endif
#endif
    }
    head = wg.y;
    total = product(total, OF_E, KEYS, 0u, OF_OTHER, false, n0, rows_of(here));
#else
    let total = products(
        zero_tile(), 0u, n0,
        OF_VALUES, false, OF_STATE, true, reach,
        OF_E, KEYS, OF_OTHER, false, rows_of(here),
    );
#endif
    store_queries(total, n0);
}

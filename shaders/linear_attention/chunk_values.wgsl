// What a chunk reads, O = scale ((Q * in) S + P V), or, BACKWARD, the gradients of what it wrote, dV = (K * out) D +
// P^T Do. A workgroup a (64 columns of d_v and chunk, h, b); grid (ceil(d_v / 64) chunks, H, B). Source: Yang et al.
// 2024, section 4.
const BACKWARD: bool = false;
alias t_keys = f32;
alias t_values = f32;
alias t_result = f32;
#import lib/tile
#import lib/chunk
#import lib/store
#import lib/row_decays

#if WIDE
alias a_keys = vec4<t_keys>;
alias a_result = vec4<t_result>;
alias a_values = vec4<t_values>;
#else
alias a_keys = t_keys;
alias a_result = t_result;
alias a_values = t_values;
#endif

@group(0) @binding(0) var<storage, read_write> keys: array<a_keys>; // Q or K [B, T, H or 1, d_k]
@group(0) @binding(1) var<storage, read_write> values: array<a_values>; // V or dO [B, T, H, d_v]
@group(0) @binding(2) var<storage, read_write> states: array<Value>; // S or D [B, H, chunks, d_k, d_v]
@group(0) @binding(3) var<storage, read_write> scores: array<Value>; // [B, H, chunks, C, C]
@group(0) @binding(4) var<storage, read_write> table: array<Factors>; // decay factors
@group(0) @binding(5) var<storage, read_write> result: array<a_result>; // O or dV [B, T, H, d_v]
@group(0) @binding(6) var<uniform> params: Params;

const OF_KEYS: u32 = 0; // Q * in or K * out
const OF_VALUES: u32 = 1; // V or scale dO
const OF_STATE: u32 = 2;
const OF_SCORES: u32 = 3;

fn element(operand: u32, i: u32, j: u32) -> Value {
    var spot: Spot;
    var value = Value();
    if operand == OF_KEYS {
        spot = in_keys(i, j);
        let row_i = select(0u, i, spot.ok);
        let col = select(0u, j, spot.ok);
        value = Value(keys[(key_row(row_i) * params.d_k + col) / WIDTH]);
#if BACKWARD
        value *= decays_out(row_i, col);
#else
        value *= decays_in(row_i, col);
#endif
    } else if operand == OF_VALUES {
        spot = in_values(i, j);
        value = Value(values[spot.at]);
#if BACKWARD
        value *= params.scale;
#endif
    } else if operand == OF_STATE {
        spot = in_state(i, j);
        value = states[spot.at];
    } else {
        spot = in_scores(i, j);
        value = scores[spot.at];
    }
    return select(Value(), value, spot.ok);
}

fn store(at: u32, value: Value) {
#if BACKWARD
    result[at] = a_result(value);
#else
    result[at] = a_result(params.scale * value);
#endif
}

@compute @workgroup_size({THREADS})
fn chunk_values(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let n0 = 64u * set_tile(wg, params.d_v);
    tile_lanes(lane);
    let here = chunk_of(wg, params.d_v);
#if BACKWARD
    let reach = from_grad_state(here, params.d_k);
#else
    let reach = from_state(here, params.d_k);
#endif
    let t = products(
        zero_tile(), 0u, n0,
        OF_KEYS, false, OF_STATE, false, reach,
        OF_SCORES, BACKWARD, OF_VALUES, false, rows_of(here),
    );
    store_values(t, n0);
}

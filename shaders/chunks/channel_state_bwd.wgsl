// What goes through the states, by channel: X1 = in * (Do S^T), X3 = out * (V D^T), and for the log decays the sums
// over d_v of a S * D. A workgroup a (64 columns of d_k and chunk, h, b); grid (ceil(d_k / 64) chunks, H, B).
alias t_v = f32;
alias t_grad_o = f32;
#import lib/tile
#import lib/chunk
#import lib/row_decays

#if WIDE
alias a_grad_o = vec4<t_grad_o>;
alias a_v = vec4<t_v>;
#else
alias a_grad_o = t_grad_o;
alias a_v = t_v;
#endif

@group(0) @binding(0) var<storage, read_write> v: array<a_v>; // V or, of the delta rule, Vn [B, T HOUSEHOLDER, H, d_v]
@group(0) @binding(1) var<storage, read_write> grad_o: array<a_grad_o>; // [B, T, H, d_v]
@group(0) @binding(2) var<storage, read_write> states: array<Value>; // [B, H, chunks, d_k, d_v]
@group(0) @binding(3) var<storage, read_write> grad_states: array<Value>; // [B, H, chunks, d_k, d_v]
@group(0) @binding(4) var<storage, read_write> table: array<Factors>; // of channel_factors_fwd
@group(0) @binding(5) var<storage, read_write> x1: array<Value>; // [B, T HOUSEHOLDER, H, d_k]
@group(0) @binding(6) var<storage, read_write> x3: array<Value>; // [B, T HOUSEHOLDER, H, d_k]
@group(0) @binding(7) var<storage, read_write> through: array<f32>; // [B, H, chunks, d_k]
@group(0) @binding(8) var<uniform> params: Params;

const OF_V: u32 = 0;
const OF_GRAD_O: u32 = 1; // scale dO at the last row of each token, elsewhere 0
const OF_STATE: u32 = 2;
const OF_GRAD_STATE: u32 = 3;

fn element(operand: u32, i: u32, j: u32) -> Value {
    var spot: Spot;
    var value = Value();
    if operand == OF_V {
        spot = in_values(i, j);
        value = Value(v[spot.at]);
    } else if operand == OF_GRAD_O {
        spot = in_values(i, j);
        spot = spot_at(query(token(i)) * params.d_v + j, spot.ok & is_last(i));
        value = params.scale * Value(grad_o[spot.at]);
    } else if operand == OF_STATE {
        spot = in_state(i, j);
        value = states[spot.at];
    } else {
        spot = in_state(i, j);
        value = grad_states[spot.at];
    }
    return select(Value(), value, spot.ok);
}

@compute @workgroup_size({THREADS})
fn channel_state_bwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let n0 = set_tile(wg, params.d_k) * 64u;
    tile_lanes(lane);
    let here = chunk_of(wg, params.d_k);
    let t1 = product(zero_tile(), OF_GRAD_O, false, 0u, OF_STATE, true, n0, from_state(here, params.d_v));
    let t3 = product(zero_tile(), OF_V, false, 0u, OF_GRAD_STATE, true, n0, from_grad_state(here, params.d_v));
    let width = from_grad_state(here, from_state(here, params.d_v));
#for r in 0..4
    if is_row(4u * y + {r}u) {
#for c in 0..4/WIDTH
        {
            let i = 4u * y + {r}u;
            let j = n0 + 4u * x + {c}u;
            if j < params.d_k {
                let at = (row(i) * params.d_k + j) / WIDTH;
                x1[at] = part_of(t1.r{r}, {c}u) * decays_in(i, j);
                x3[at] = part_of(t3.r{r}, {c}u) * decays_out(i, j);
            }
        }
#end
    }
#end
    for (var m0 = 0u; m0 < 64u; m0 += CHUNK) {
        var part = vec4(0.0);
        for (var j = x * WIDTH; j < width; j += 16u * WIDTH) {
#for r in 0..4
            let i{r} = n0 + m0 + 4u * y + {r}u;
            part[{r}] += components_sum(element(OF_STATE, i{r}, j) * element(OF_GRAD_STATE, i{r}, j));
#end
        }
        let sum = row_sums(part, lane);
        let channel = n0 + m0 + lane;
        if lane < CHUNK && channel < params.d_k {
            through[block() * params.d_k + channel] = decay_whole(channel) * sum;
        }
    }
}

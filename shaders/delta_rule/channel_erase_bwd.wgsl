// What the writes of a chunk read from the state before it, for their gradients: -X2 = -in * (dV S^T). A workgroup a (64
// columns of d_k and chunk, h, b); grid (ceil(d_k / 64) chunks, H, B).
alias t_grad_v = f32;
#import lib/tile
#import lib/chunk
#import lib/row_decays

#if WIDE
alias a_grad_v = vec4<t_grad_v>;
#else
alias a_grad_v = t_grad_v;
#endif

@group(0) @binding(0) var<storage, read_write> grad_v: array<a_grad_v>; // [B, T HOUSEHOLDER, H, d_v]
@group(0) @binding(1) var<storage, read_write> states: array<Value>; // [B, H, chunks, d_k, d_v]
@group(0) @binding(2) var<storage, read_write> table: array<f32>; // of channel_factors_fwd
@group(0) @binding(3) var<storage, read_write> x2: array<f32>; // [B, T HOUSEHOLDER, H, d_k]: -X2
@group(0) @binding(4) var<uniform> params: Params;

const OF_GRAD_V: u32 = 0;
const OF_STATE: u32 = 1;

fn element(operand: u32, i: u32, j: u32) -> Value {
    var spot: Spot;
    var value = Value();
    if operand == OF_GRAD_V {
        spot = in_values(i, j);
        value = Value(grad_v[spot.at]);
    } else {
        spot = in_state(i, j);
        value = states[spot.at];
    }
    return select(Value(), value, spot.ok);
}

@compute @workgroup_size({THREADS})
fn channel_erase_bwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let n0 = set_tile(wg, params.d_k) * 64u;
    tile_lanes(lane);
    let t = product(zero_tile(), OF_GRAD_V, false, 0u, OF_STATE, true, n0, from_state(chunk_of(wg, params.d_k), params.d_v));
#for r in 0..4
    if is_row(4u * y + {r}u) {
#for c in 0..4
        if n0 + 4u * x + {c}u < params.d_k {
            let at = row(4u * y + {r}u) * params.d_k + n0 + 4u * x + {c}u;
            x2[at] = -t.r{r}[{c}] * decay_in(4u * y + {r}u, n0 + 4u * x + {c}u);
        }
#end
    }
#end
}

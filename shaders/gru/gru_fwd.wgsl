// h of one time step from that of the step before: with s = U h_{t-1} + bias, r = sigma(x_r + s_r), z = sigma(x_z + s_z),
// m = tanh(x_m + r s_m), h = (1 - z) m + z h_{t-1}.
// A workgroup does 4 QUADS sequences by LANES channels, whose three gates are the columns of its product.
// Grid: [ceil(d / LANES), ceil(B / (4 QUADS)), 1]. Source: models.md 3.8.
#import lib/gru
#import lib/step_product

alias t_xg = f32;
alias t_h = f32;

struct Params { b: u32, t: u32, d: u32, step: u32 }

@group(0) @binding(0) var<storage, read_write> xg: array<t_xg>; // [B, T, 3 d]
@group(0) @binding(1) var<storage, read_write> w: array<f32>; // U [3 d, d]
@group(0) @binding(2) var<storage, read_write> bias: array<f32>; // [3 d]
@group(0) @binding(3) var<storage, read_write> h: array<t_h>; // [B, T, d]
@group(0) @binding(4) var<uniform> params: Params;

var<private> top: u32;
var<private> first: u32;

fn left(row: u32, k: u32) -> f32 {
    let ok = top + row < params.b && k < params.d;
    let at = ((top + row) * params.t + params.step - 1u) * params.d + k;
    return select(0.0, f32(h[select(0u, at, ok)]), ok);
}

fn right(column: u32, k: u32) -> f32 {
    let channel = first + column % LANES;
    let ok = channel < params.d && k < params.d;
    let at = (column / LANES * params.d + channel) * params.d + k;
    return select(0.0, w[select(0u, at, ok)], ok);
}

@compute @workgroup_size(256)
fn gru_fwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    top = 4u * QUADS * wg.y;
    first = LANES * wg.x;
    let sums = step_product(thread, select(0u, params.d, params.step > 0u));
    let channel = first + thread % LANES;
    if thread >= TILE || channel >= params.d {
        return;
    }
#for i in 0..4
    let row{i} = top + thread / LANES * 4u + {i}u;
    if row{i} < params.b {
        let at = (row{i} * params.t + params.step) * 3u * params.d + channel;
        let x = vec3(f32(xg[at]), f32(xg[at + params.d]), f32(xg[at + 2u * params.d]));
        let b = vec3(bias[channel], bias[params.d + channel], bias[2u * params.d + channel]);
        let to = (row{i} * params.t + params.step) * params.d + channel;
        var before = 0.0;
        if params.step > 0u {
            before = f32(h[to - params.d]);
        }
        h[to] = t_h(gru_cell(x, vec3(sums.c0[{i}], sums.c1[{i}], sums.c2[{i}]) + b, before));
    }
#end
}

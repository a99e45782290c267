// Gradients of one time step, from the last to the first: dh = dy + z dh of the step after it + U^T ds of the step after
// it, then those of the gates' arguments, dx = (dx_r, dx_z, dx_m), and ds = (dx_r, dx_z, r dx_m).
// `g` holds s = U h_t + bias in the row of step t (b T + t), where the step after it reads it and leaves its ds instead;
// the last step's row becomes 0, and ds of step 0 goes behind all of these (B T + b). So g is what U's gradient
// multiplies with h, row by row, and all of g sums up to that of the bias.
// A workgroup does 4 QUADS sequences by 3 LANES channels.
// Grid: [ceil(d / (3 LANES)), ceil(B / (4 QUADS)), 1]. Source: models.md 3.8.
#import lib/gru
#import lib/step_product

alias t_grad_y = f32;
alias t_xg = f32;
alias t_h = f32;
alias t_grad_xg = f32;

struct Params { b: u32, t: u32, d: u32, step: u32 }

@group(0) @binding(0) var<storage, read_write> grad_y: array<t_grad_y>; // [B, T, d]
@group(0) @binding(1) var<storage, read_write> xg: array<t_xg>; // [B, T, 3 d]
@group(0) @binding(2) var<storage, read_write> h: array<t_h>; // [B, T, d]
@group(0) @binding(3) var<storage, read_write> w: array<f32>; // U [3 d, d]
@group(0) @binding(4) var<storage, read_write> bias: array<f32>; // [3 d]
@group(0) @binding(5) var<storage, read_write> g: array<f32>; // [B T + B, 3 d]
@group(0) @binding(6) var<storage, read_write> carry: array<f32>; // z dh of the step after this one [B, d]
@group(0) @binding(7) var<storage, read_write> grad_xg: array<t_grad_xg>; // [B, T, 3 d]
@group(0) @binding(8) var<uniform> params: Params;

var<private> top: u32;
var<private> first: u32;

fn left(row: u32, k: u32) -> f32 {
    let ok = top + row < params.b && k < 3u * params.d;
    let at = ((top + row) * params.t + params.step) * 3u * params.d + k;
    return select(0.0, g[select(0u, at, ok)], ok);
}

fn right(column: u32, k: u32) -> f32 {
    let ok = first + column < params.d && k < 3u * params.d;
    return select(0.0, w[select(0u, k * params.d + first + column, ok)], ok);
}

// One sequence and channel.
fn cell(row: u32, channel: u32, sum: f32) {
    if row >= params.b || channel >= params.d {
        return;
    }
    let d = params.d;
    let token = row * params.t + params.step;
    let is_last = params.step + 1u == params.t;
    let own = row * d + channel;
    var grad_h = f32(grad_y[token * d + channel]);
    if !is_last {
        grad_h += carry[own] + sum;
    }
    var s = vec3(bias[channel], bias[d + channel], bias[2u * d + channel]);
    var before = 0.0;
    var to = (params.b * params.t + row) * 3u * d + channel;
    if params.step > 0u {
        to = (token - 1u) * 3u * d + channel;
        s = vec3(g[to], g[to + d], g[to + 2u * d]);
        before = f32(h[(token - 1u) * d + channel]);
    }
    let at = token * 3u * d + channel;
    let gates = gru_gates(vec3(f32(xg[at]), f32(xg[at + d]), f32(xg[at + 2u * d])), s);
    let grad_m = grad_h * gates.z.y * gates.m.y;
    let grad_z = grad_h * (before - gates.m.x) * gates.z.x * gates.z.y;
    let grad_r = grad_m * s.z * gates.r.x * gates.r.y;
    grad_xg[at] = t_grad_xg(grad_r);
    grad_xg[at + d] = t_grad_xg(grad_z);
    grad_xg[at + 2u * d] = t_grad_xg(grad_m);
    g[to] = grad_r;
    g[to + d] = grad_z;
    g[to + 2u * d] = grad_m * gates.r.x;
    carry[own] = gates.z.x * grad_h;
    if is_last {
        g[at] = 0.0;
        g[at + d] = 0.0;
        g[at + 2u * d] = 0.0;
    }
}

@compute @workgroup_size(256)
fn gru_bwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    top = 4u * QUADS * wg.y;
    first = COLUMNS * wg.x;
    let sums = step_product(thread, select(0u, 3u * params.d, params.step + 1u < params.t));
    if thread >= TILE {
        return;
    }
    let channel = first + thread % LANES;
#for i in 0..4
    let row{i} = top + thread / LANES * 4u + {i}u;
    cell(row{i}, channel, sums.c0[{i}]);
    cell(row{i}, channel + LANES, sums.c1[{i}]);
    cell(row{i}, channel + 2u * LANES, sums.c2[{i}]);
#end
}

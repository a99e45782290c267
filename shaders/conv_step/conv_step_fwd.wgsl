// y = silu(w . (past inputs, x) (+ b)), and the past moves on by one token. A thread does one channel of one sequence;
// grid: ops::grid_1d over ceil(B channels / 256). Source: models.md 4.9, 7.
#import lib/grid
#import lib/activation

const BIAS: bool = false;

alias t_x = f32;
alias t_y = f32;

struct Params { n: u32, channels: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<t_x>; // [B, channels]
@group(0) @binding(1) var<storage, read_write> w: array<vec4<f32>>; // [channels] of 4 taps, the last on the current step
#if BIAS
@group(0) @binding(2) var<storage, read_write> b: array<f32>; // [channels]
#endif
@group(0) @binding(3) var<storage, read_write> y: array<t_y>; // [B, channels]
@group(0) @binding(4) var<storage, read_write> state: array<f32>; // [B, channels, 3], the oldest first
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(256)
fn conv_step_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = workgroup_index(wg, count) * 256u + thread;
    if i >= params.n {
        return;
    }
    let c = i % params.channels;
    let past = vec3(state[3u * i], state[3u * i + 1u], state[3u * i + 2u]);
    let now = f32(x[i]);
    var bias = 0.0;
#if BIAS
    bias = b[c];
#endif
    y[i] = t_y(silu(dot(w[c], vec4(past, now)) + bias));
    state[3u * i] = past.y;
    state[3u * i + 1u] = past.z;
    state[3u * i + 2u] = now;
}

// g = -exp(A_log) softplus(y + dt_bias). A thread an element; grid: ops::grid_1d over ceil(rows h / 256).
alias t_y = f32;
#import lib/grid
#import lib/activation

struct Params { rows: u32, h: u32, parts: u32 }

@group(0) @binding(0) var<storage, read_write> y: array<t_y>; // [rows, h]
@group(0) @binding(1) var<storage, read_write> a_log: array<f32>; // [h]
@group(0) @binding(2) var<storage, read_write> dt_bias: array<f32>; // [h]
@group(0) @binding(3) var<storage, read_write> g: array<f32>; // [rows, h]
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(256)
fn decay_gate_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = workgroup_index(wg, count) * 256u + thread;
    if i < params.rows * params.h {
        let head = i % params.h;
        g[i] = -exp(a_log[head]) * softplus(f32(y[i]) + dt_bias[head]);
    }
}

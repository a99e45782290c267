// The terms dg g of dA_log, g = -exp(A_log) softplus(dt_raw + dt_bias). A thread a row; grid: ops::grid_1d over
// ceil(rows / 256).
alias t_dt_raw = f32;
#import lib/grid
#import lib/activation

struct Params { rows: u32, h: u32, p: u32, accumulate: u32 }

@group(0) @binding(0) var<storage, read_write> dt_raw: array<t_dt_raw>; // [rows]
@group(0) @binding(1) var<storage, read_write> dt_bias: array<f32>; // [h]
@group(0) @binding(2) var<storage, read_write> a_log: array<f32>; // [h]
@group(0) @binding(3) var<storage, read_write> grad_g: array<f32>; // [rows]
@group(0) @binding(4) var<storage, read_write> terms: array<f32>; // [rows]
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(256)
fn ssm_rate_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = workgroup_index(wg, count) * 256u + thread;
    if row < params.rows {
        let head = row % params.h;
        terms[row] = -grad_g[row] * exp(a_log[head]) * softplus(f32(dt_raw[row]) + dt_bias[head]);
    }
}

// dx = dt d_v (added where `accumulate`) and ddt_raw = (d_v . x - exp(A_log) dg) sigma(dt_raw + dt_bias), dt =
// softplus(dt_raw + dt_bias). LANES threads a row, a row a head; grid: ops::grid_1d over ceil(rows LANES / 256).
#import lib/grid
#import lib/scaled_row
#import lib/activation

alias t_x = f32;
alias t_dt_raw = f32;
alias t_grad_y = f32;
alias t_grad_x = f32;
#if WIDE
alias a_x = vec4<t_x>;
alias a_grad_y = vec4<t_grad_y>;
alias a_grad_x = vec4<t_grad_x>;
#else
alias a_x = t_x;
alias a_grad_y = t_grad_y;
alias a_grad_x = t_grad_x;
#endif

struct Params { rows: u32, h: u32, p: u32, accumulate: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<a_x>; // [rows, p]
@group(0) @binding(1) var<storage, read_write> dt_raw: array<t_dt_raw>; // [rows]
@group(0) @binding(2) var<storage, read_write> dt_bias: array<f32>; // [h]
@group(0) @binding(3) var<storage, read_write> a_log: array<f32>; // [h]
@group(0) @binding(4) var<storage, read_write> grad_g: array<f32>; // [rows]
@group(0) @binding(5) var<storage, read_write> grad_y: array<a_grad_y>; // d_v [rows, p]
@group(0) @binding(6) var<storage, read_write> grad_x: array<a_grad_x>; // [rows, p]
@group(0) @binding(7) var<storage, read_write> grad_dt_raw: array<f32>; // [rows]
@group(0) @binding(8) var<uniform> params: Params;

@compute @workgroup_size(256)
fn ssm_gate_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = workgroup_index(wg, count) * ROWS_AT_ONCE + thread / LANES;
    let inside = row < params.rows;
    let head = row % params.h;
    var here = 0.0;
    if inside {
        here = f32(dt_raw[row]) + dt_bias[head];
    }
    let dt = softplus(here);
    let along = scaled_row_bwd(row, inside, dt, thread);
    if inside && thread % LANES == 0u {
        grad_dt_raw[row] = (along - exp(a_log[head]) * grad_g[row]) * sigmoid(here);
    }
}

// dx = s dy (added where `accumulate`), ds = dy . x. LANES threads a row; grid: ops::grid_1d over ceil(rows LANES / 256).
#import lib/grid
#import lib/scaled_row

alias t_x = f32;
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

struct Params { rows: u32, p: u32, accumulate: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<a_x>; // [rows, p]
@group(0) @binding(1) var<storage, read_write> s: array<f32>; // [rows]
@group(0) @binding(2) var<storage, read_write> grad_y: array<a_grad_y>; // [rows, p]
@group(0) @binding(3) var<storage, read_write> grad_x: array<a_grad_x>; // [rows, p]
@group(0) @binding(4) var<storage, read_write> grad_s: array<f32>; // [rows]
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(256)
fn scale_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = workgroup_index(wg, count) * ROWS_AT_ONCE + thread / LANES;
    let inside = row < params.rows;
    var factor = 0.0;
    if inside {
        factor = s[row];
    }
    let along = scaled_row_bwd(row, inside, factor, thread);
    if inside && thread % LANES == 0u {
        grad_s[row] = along;
    }
}

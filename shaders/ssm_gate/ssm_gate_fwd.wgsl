// g = -exp(A_log) dt and v = dt x with dt = softplus(dt_raw + dt_bias). A thread an element of v
// or, WIDE, a quad; grid: ops::grid_1d over ceil(rows p / WIDTH / 256).
#import lib/grid
#import lib/activation
#import lib/wide

alias t_x = f32;
alias t_dt_raw = f32;
alias t_v = f32;
#if WIDE
alias a_x = vec4<t_x>;
alias a_v = vec4<t_v>;
#else
alias a_x = t_x;
alias a_v = t_v;
#endif

struct Params { rows: u32, h: u32, p: u32, accumulate: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<a_x>; // [rows, p], a row a head
@group(0) @binding(1) var<storage, read_write> dt_raw: array<t_dt_raw>; // [rows]
@group(0) @binding(2) var<storage, read_write> dt_bias: array<f32>; // [h]
@group(0) @binding(3) var<storage, read_write> a_log: array<f32>; // [h]
@group(0) @binding(4) var<storage, read_write> g: array<f32>; // [rows]
@group(0) @binding(5) var<storage, read_write> v: array<a_v>; // [rows, p]
@group(0) @binding(6) var<uniform> params: Params;

@compute @workgroup_size(256)
fn ssm_gate_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = workgroup_index(wg, count) * 256u + thread;
    let columns = params.p / WIDTH;
    if i < params.rows * columns {
        let row = i / columns;
        let head = row % params.h;
        let dt = softplus(f32(dt_raw[row]) + dt_bias[head]);
        v[i] = a_v(dt * Lanes(x[i]));
        if i % columns == 0u {
            g[row] = -exp(a_log[head]) * dt;
        }
    }
}

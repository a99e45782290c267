// y = value or, with heads, the fixed log decay of head i mod heads. A thread an element; grid: ops::grid_1d over ceil(n / 256).
#import lib/grid
#import lib/retention

alias t_y = f32;

struct Params { n: u32, heads: u32, value: f32 }

@group(0) @binding(0) var<storage, read_write> y: array<t_y>; // [n]
@group(0) @binding(1) var<uniform> params: Params;

@compute @workgroup_size(256)
fn fill_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = workgroup_index(wg, count) * 256u + thread;
    if i < params.n {
        var value = params.value;
        if params.heads > 0u {
            value = retention_log_decay(i % params.heads);
        }
        y[i] = t_y(value);
    }
}

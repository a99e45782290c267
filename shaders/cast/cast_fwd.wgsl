// y = x. A thread an element (WIDE: four of them); grid: ops::grid_1d over ceil(n / 256) workgroups.
#import lib/grid
const WIDE: bool = false; // n counts vec4s

alias t_x = f32;
alias t_y = f32;

struct Params { n: u32 }

#if WIDE
@group(0) @binding(0) var<storage, read_write> x: array<vec4<t_x>>; // [n]
@group(0) @binding(1) var<storage, read_write> y: array<vec4<t_y>>; // [n]
#else
@group(0) @binding(0) var<storage, read_write> x: array<t_x>; // [n]
@group(0) @binding(1) var<storage, read_write> y: array<t_y>; // [n]
#endif
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(256)
fn cast_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = workgroup_index(wg, count) * 256u + lane;
    if i < params.n {
#if WIDE
        y[i] = vec4<t_y>(x[i]);
#else
        y[i] = t_y(x[i]);
#endif
    }
}

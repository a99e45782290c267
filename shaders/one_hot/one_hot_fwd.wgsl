// u = one-hot rows of the symbols. A thread an element; grid: ops::grid_1d over ceil(n / 256) workgroups, n = rows V.
#import lib/grid

alias t_u = f32;

struct Params { n: u32, vocab: u32 }

@group(0) @binding(0) var<storage, read_write> symbols: array<u32>; // [rows]
@group(0) @binding(1) var<storage, read_write> u: array<t_u>;       // [rows, V]
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(256)
fn one_hot_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = workgroup_index(wg, count) * 256u + lane;
    if i < params.n {
        u[i] = select(t_u(0.0), t_u(1.0), symbols[i / params.vocab] == i % params.vocab);
    }
}

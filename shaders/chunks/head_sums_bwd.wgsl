// Sums over heads of [rows, H, d], in order, to [rows, d]. A thread a quad; grid: ops::grid_1d.
#import lib/grid

struct Params { n: u32, h: u32, d: u32 } // n: quads of the sums

alias t_parts = f32;
alias t_sums = f32;

@group(0) @binding(0) var<storage, read_write> parts: array<vec4<t_parts>>; // [rows, H, d]
@group(0) @binding(1) var<storage, read_write> sums: array<vec4<t_sums>>; // [rows, d]
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(256)
fn head_sums_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = workgroup_index(wg, count) * 256u + lane;
    if i >= params.n {
        return;
    }
    let quads = params.d / 4u;
    var sum = vec4(0.0);
    for (var head = 0u; head < params.h; head++) {
        sum += vec4<f32>(parts[(i / quads * params.h + head) * quads + i % quads]);
    }
    sums[i] = vec4<t_sums>(sum);
}

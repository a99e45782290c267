// What the backward kernels read of a row, in one place: lse, del = grad_o . o and, with decays, its sum of log decays.
// Eight threads a row, 32 rows a workgroup. Grid: ops::grid_1d over ceil(n / 32), n = B T H rows.
#import lib/grid

alias t_o = f32;
alias t_grad_o = f32;
const FORGET: bool = false;
const VEC: bool = false; // D is a multiple of 4

struct Params { n: u32, d: u32 }

#if VEC
@group(0) @binding(0) var<storage, read_write> o: array<vec4<t_o>>; // [n, D]
@group(0) @binding(1) var<storage, read_write> grad_o: array<vec4<t_grad_o>>; // [n, D]
#else
@group(0) @binding(0) var<storage, read_write> o: array<t_o>; // [n, D]
@group(0) @binding(1) var<storage, read_write> grad_o: array<t_grad_o>; // [n, D]
#endif
@group(0) @binding(2) var<storage, read_write> lse: array<f32>; // [n]
#if FORGET
@group(0) @binding(3) var<storage, read_write> stats: array<vec4<i32>>; // [n]: bits of lse and del, then `sums`
@group(0) @binding(4) var<storage, read_write> sums: array<vec2<i32>>; // [n], of attention_decay_sums
#else
@group(0) @binding(3) var<storage, read_write> stats: array<vec2<i32>>; // [n]: bits of lse and del
#endif
@group(0) @binding(5) var<uniform> params: Params;

var<workgroup> parts: array<f32, 256>;

@compute @workgroup_size(256)
fn attention_stats_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = workgroup_index(wg, count) * 32u + lane / 8u;
    var sum = 0.0;
    if row < params.n {
#if VEC
        let width = params.d / 4u;
        for (var c = lane % 8u; c < width; c += 8u) {
            sum += dot(vec4<f32>(o[row * width + c]), vec4<f32>(grad_o[row * width + c]));
        }
#else
        for (var c = lane % 8u; c < params.d; c += 8u) {
            sum += f32(o[row * params.d + c]) * f32(grad_o[row * params.d + c]);
        }
#endif
    }
    parts[lane] = sum;
    workgroupBarrier();
    if row < params.n && lane % 8u == 0u {
        var total = 0.0;
        for (var j = 0u; j < 8u; j++) {
            total += parts[lane + j];
        }
        let both = vec2<i32>(bitcast<i32>(lse[row]), bitcast<i32>(total));
#if FORGET
        stats[row] = vec4<i32>(both, sums[row]);
#else
        stats[row] = both;
#endif
    }
}

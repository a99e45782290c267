// del = rows of d_o . o, for the backward kernels. Eight threads a row, 32 rows a workgroup.
// Grid: ops::grid_1d over ceil(n / 32), n = B T H rows.
#import lib/grid

alias t_o = f32;
alias t_d_o = f32;

struct Params { n: u32, d: u32 }

@group(0) @binding(0) var<storage, read_write> o: array<t_o>; // [n, D]
@group(0) @binding(1) var<storage, read_write> d_o: array<t_d_o>; // [n, D]
@group(0) @binding(2) var<storage, read_write> del: array<f32>; // [n]
@group(0) @binding(3) var<uniform> params: Params;

var<workgroup> parts: array<f32, 256>;

@compute @workgroup_size(256)
fn attention_del_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = workgroup_index(wg, count) * 32u + lane / 8u;
    var sum = 0.0;
    if row < params.n {
        for (var c = lane % 8u; c < params.d; c += 8u) {
            sum += f32(o[row * params.d + c]) * f32(d_o[row * params.d + c]);
        }
    }
    parts[lane] = sum;
    workgroupBarrier();
    if row < params.n && lane % 8u == 0u {
        var total = 0.0;
        for (var j = 0u; j < 8u; j++) {
            total += parts[lane + j];
        }
        del[row] = total;
    }
}

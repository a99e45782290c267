// Second stage of a sum over rows: sum[c] (+)= sum over p of partials[p, c], always in the same order.
// A workgroup does COLUMNS columns, at most 256; 256 / COLUMNS threads share one, each takes every so-manieth part, then a tree.
// Grid: ops::grid_1d over ceil(n / COLUMNS). Host: `ops::reduce::column_sum`.
#import lib/grid

const COLUMNS: u32 = 32;
const SLICES: u32 = 256 / COLUMNS;
alias t_sum = f32;

struct Params { parts: u32, n: u32, accumulate: u32 }

@group(0) @binding(0) var<storage, read_write> partials: array<f32>; // [parts, n]
@group(0) @binding(1) var<storage, read_write> sum: array<t_sum>; // [n]
@group(0) @binding(2) var<uniform> params: Params;

var<workgroup> slices: array<f32, 256>;

@compute @workgroup_size(256)
fn column_sum(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let c = workgroup_index(wg, count) * COLUMNS + thread % COLUMNS;
    let slice = thread / COLUMNS;
    var total = 0.0;
    if c < params.n {
        for (var p = slice; p < params.parts; p += SLICES) {
            total += partials[p * params.n + c];
        }
    }
    slices[thread] = total;
    workgroupBarrier();
    for (var span = SLICES / 2u; span > 0u; span /= 2u) {
        if slice < span {
            slices[thread] += slices[thread + span * COLUMNS];
        }
        workgroupBarrier();
    }
    if slice == 0u && c < params.n {
        var result = slices[thread];
        if params.accumulate != 0u {
            result += f32(sum[c]);
        }
        sum[c] = t_sum(result);
    }
}

// Gradient of the log decays: dlog_f_t = sum of dz_ij over j < t <= i. Between t and t + 1 it gains column t and loses
// row t of dz, both without the diagonal, which is in no such sum: so it is the sum of (column - row) before t.
// A workgroup: one (b, h), `per` consecutive steps a thread. Grid: ops::grid_1d over B H. Needs 256 per >= T.
#import lib/grid
#import lib/prefix

struct Params { t: u32, h: u32, heads: u32, per: u32 }

@group(0) @binding(0) var<storage, read_write> row_sums: array<f32>; // [B, T, H]
@group(0) @binding(1) var<storage, read_write> col_sums: array<f32>; // [B, T, H]
@group(0) @binding(2) var<storage, read_write> grad_log_f: array<f32>; // [B, T, H]
@group(0) @binding(3) var<uniform> params: Params;

alias Item = f32;

fn join(a: Item, b: Item) -> Item {
    return a + b;
}

@compute @workgroup_size(256)
fn attention_log_f_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let head = workgroup_index(wg, count);
    if head >= params.heads {
        return;
    }
    let first = head / params.h * params.t * params.h + head % params.h;
    let begin = min(lane * params.per, params.t);
    let end = min(begin + params.per, params.t);
    var own = 0.0;
    for (var t = begin; t < end; t++) {
        let row = first + t * params.h;
        own += col_sums[row] - row_sums[row];
    }
    var sum = sum_before(lane, own);
    for (var t = begin; t < end; t++) {
        let row = first + t * params.h;
        grad_log_f[row] = sum;
        sum += col_sums[row] - row_sums[row];
    }
}

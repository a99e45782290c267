// lse_r = ln sum_c exp(z_rc) and nll_r = lse_r - z_r,label (0 where the label is no class); with GRADIENT dz as in
// cross_entropy_bwd, while the row is at hand. A workgroup a row; grid: ops::grid_1d over the rows. Source: models.md 4.11.
#import lib/grid
#import lib/cross_entropy
#import lib/sum256

const GRADIENT: bool = false;
alias t_z = f32;

@group(0) @binding(0) var<storage, read_write> z: array<t_z>;      // [rows, K]
@group(0) @binding(1) var<storage, read_write> labels: array<u32>; // [rows]
@group(0) @binding(2) var<storage, read_write> lse: array<f32>;    // [rows]
@group(0) @binding(3) var<storage, read_write> nll: array<f32>;    // [rows]
#if GRADIENT
@group(0) @binding(4) var<storage, read_write> grad_z: array<t_grad_z>; // [rows, row]
#endif
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(256)
fn cross_entropy_rows(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = workgroup_index(wg, count);
    if row >= params.rows {
        return;
    }
    let base = row * params.classes;
    var top = -3.4e38;
    for (var c = lane; c < params.classes; c += 256u) {
        top = max(top, f32(z[base + c]));
    }
    top = max256(lane, top);
    var sum = 0.0;
    for (var c = lane; c < params.classes; c += 256u) {
        sum += exp(f32(z[base + c]) - top);
    }
    sum = sum256(lane, sum);
    let value = top + log(sum);
    let label = labels[row];
    if lane == 0u {
        lse[row] = value;
        var loss = 0.0;
        if label < params.classes {
            loss = value - f32(z[base + label]);
        }
        nll[row] = loss;
    }
#if GRADIENT
    for (var c = lane; c < params.row; c += 256u) {
        grad_z[row * params.row + c] = t_grad_z(gradient_at(row, c, label, value));
    }
#endif
}

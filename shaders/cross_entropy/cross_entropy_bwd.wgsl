// dz = dloss inv_tokens (exp(z - lse) - [c = label]), 0 in masked rows. Without FACTOR dloss = 1.
// A thread an element; grid: ops::grid_1d over ceil(rows row / 256) workgroups. Source: models.md 4.11.
#import lib/grid
#import lib/cross_entropy

alias t_z = f32;

@group(0) @binding(0) var<storage, read_write> z: array<t_z>;      // [rows, z_row]
@group(0) @binding(1) var<storage, read_write> labels: array<u32>; // [rows]
@group(0) @binding(2) var<storage, read_write> lse: array<f32>;    // [rows]
@group(0) @binding(4) var<storage, read_write> grad_z: array<t_grad_z>; // [rows, row]
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(256)
fn cross_entropy_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = workgroup_index(wg, count) * 256u + lane;
    if i >= params.rows * params.row {
        return;
    }
    let row = i / params.row;
    let column = i % params.row;
    let at = row * params.z_row + min(column, params.z_row - 1u);
    let value = gradient_of(f32(z[at]), column, labels[row], lse[row]);
    grad_z[i] = t_grad_z(value);
}
